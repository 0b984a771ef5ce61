"""FreeBSD's kernel: modules, settings, and what it allows a host that is a jail itself."""

from __future__ import annotations

from collections.abc import Iterator

from beastack.freebsd import kld, sysctl
from beastack.site.doctor.finding import Finding, bad, good
from beastack.site.doctor.view import View
from beastack.site.host import freebsd_hypervisor, freebsd_switch

#: What a module that is missing takes away.
MODULES = {
    "if_tuntap": "no bridge of the switch comes up, and no guest starts",
    "if_epair": "neither the host nor DHCP gets to the networks",
    "if_bridge": "libvirt does not begin",
    "nmdm": "no guest with a serial line starts",
    "vmm": "no guest starts",
}
#: Settings that must be 1 on a host with guests, and what else happens (tap(4), security(7)).
SETTINGS = {
    freebsd_hypervisor.UP_ON_OPEN: "guests' taps stay down: no guest has a network",
    "security.bsd.see_other_uids": "nova-compute does not see guests' processes, and does not start",
    "security.bsd.see_other_gids": "nova-compute does not see guests' processes, and does not start",
}
JAILED = "security.jail.jailed"
JAILS, JAILS_MOST = "security.jail.children.cur", "security.jail.children.max"
OWN_NETWORK, MAY_HAVE_GUESTS = "security.jail.vnet", "security.jail.vmm_allowed"


def check_modules(view: View) -> Iterator[Finding]:
    """The kernel modules of interfaces and guests are loaded."""
    host = view.site.description.host
    wanted = [
        *(freebsd_switch.MODULES if host.has_network else ()),
        *(freebsd_hypervisor.MODULES if host.has_guests else ()),
    ]
    missing = [name for name in dict.fromkeys(wanted) if not kld.is_loaded(name)]
    for name in missing:
        yield bad("modules", f"{name} is not loaded: {MODULES[name]}", f"kldload {name}")
    if not missing:
        yield good("modules", "what interfaces and guests need is loaded")


def check_settings(view: View) -> Iterator[Finding]:
    """Sysctls are as guests need them."""
    values = sysctl.read_values((), optional=tuple(SETTINGS))
    wrong = [name for name in SETTINGS if name in values and values.integer(name) != 1]
    for name in wrong:
        remedy = f"sysctl {name}=1; to keep it: sysrc -f /etc/sysctl.conf {name}=1"
        yield bad("sysctls", f"{name} is {values.text(name)}: {SETTINGS[name]}", remedy)
    if not wrong:
        yield good("sysctls", "as guests need them")


def check_jail(view: View) -> Iterator[Finding]:
    """A host that is a jail itself may have what a cloud needs (jail(8))."""
    host = view.site.description.host
    names = (JAILED, JAILS, JAILS_MOST, OWN_NETWORK, MAY_HAVE_GUESTS)
    values = sysctl.read_values((), optional=names)
    known = {name: values.integer(name) for name in values}
    if not known.get(JAILED):
        yield good("jails", "this host is no jail itself")
        return
    outside = "jail -m name=NAME {}, on the machine around it, and the same in its jail.conf"
    wrong = []
    if host.has_network and not known.get(OWN_NETWORK, 1):
        wrong.append(("it has no network stack of its own", "vnet=new in its jail.conf, and start it anew"))
    if host.has_network and known.get(JAILS, 0) >= known.get(JAILS_MOST, 0):
        seen = f"it may have {known.get(JAILS_MOST, 0)} jails, and has {known.get(JAILS, 0)}: no network gets DHCP"
        wrong.append((seen, outside.format("children.max=1000")))
    if host.has_guests and not known.get(MAY_HAVE_GUESTS, 0):
        wrong.append(("it may not use vmm: no guest starts", outside.format("allow.vmm=1")))
    for seen, remedy in wrong:
        yield bad("jails", f"this host is a jail itself, and {seen}", remedy)
    if not wrong:
        yield good("jails", "this host is a jail itself, and may have what it needs")
