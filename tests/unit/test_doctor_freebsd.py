"""What doctor finds on a FreeBSD host alone: each cause of no network and of no boot, and its remedy."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from beastack.freebsd import interface, kld, process, sysctl
from beastack.freebsd.command import Result
from beastack.freebsd.errors import JailNotFound
from beastack.freebsd.interface import Address, Interface, Words
from beastack.site import secrets
from beastack.site.configuration import Facts, Site
from beastack.site.description import load_description
from beastack.site.doctor import freebsd_firewalls, freebsd_guests, freebsd_kernel, freebsd_ports, guests
from beastack.site.doctor.finding import Finding
from beastack.site.doctor.view import View
from beastack.site.host import freebsd_hypervisor
from beastack.site.layout import Layout

OPEN = Words(1, ("UP", "PPROMISC"))
SWITCH = process.Process(40, 1, 0, 0, "S", 1, 1, 0.0, "/usr/local/sbin/ovs-vswitchd unix:/x/db.sock")
GUEST = process.Process(50, 1, 0, 0, "S", 1, 1, 0.0, "bhyve: instance-1")
MODULES = {"if_tuntap", "if_epair", "if_bridge", "nmdm", "vmm"}


class Host:
    """A host on which everything is well, until a test says otherwise."""

    def __init__(self) -> None:
        self.modules = set(MODULES)
        self.values: dict[str, str] = {
            "net.link.tap.up_on_open": "1", "security.bsd.see_other_uids": "1", "security.bsd.see_other_gids": "1",
            "security.jail.jailed": "0", "hw.vmm.vmx.initialized": "1", "hw.vmm.vmx.cap.unrestricted_guest": "1",
            "hw.vmm.svm.num_asids": "0", "kern.vm_guest": "none",
        }  # fmt: skip
        self.interfaces = [
            Interface("ovs-netdev", OPEN, 1500, groups=("tap",), opened_by=(40,)),
            Interface("int", OPEN, 1500, groups=("tap",), opened_by=(40,)),
            Interface("em0", OPEN, 1500),
            Interface("tap1", OPEN, 1450, groups=("epair",), driver_name="epair1a"),
            Interface("und", OPEN, 1500, addresses=(Address(ipaddress.ip_address("10.9.0.2"), 24),), opened_by=(40,)),
        ]
        self.processes = [SWITCH, GUEST]
        self.output: dict[str, str] = {}

    def read(self, names: Sequence[str], *, optional: Sequence[str] = (), jail: str | None = None) -> sysctl.Values:
        if jail == "qdhcp-gone":
            raise JailNotFound(["sysctl", "-j", jail], 1, "", "not found")
        return sysctl.Values({name: self.values[name] for name in (*names, *optional) if name in self.values})

    def run(self, argv: Sequence[str], **options: Any) -> Result:
        return Result(tuple(argv), 0, self.output[" ".join(argv)], "")

    def change(self, name: str, **fields: Any) -> None:
        self.interfaces = [Interface(**{**vars(one), **fields}) if one.name == name else one for one in self.interfaces]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()
    monkeypatch.setattr(kld, "is_loaded", lambda name: name in made.modules)
    monkeypatch.setattr(sysctl, "read_values", made.read)
    monkeypatch.setattr(interface, "list_interfaces", lambda: tuple(made.interfaces))
    monkeypatch.setattr(
        interface, "find_interface", lambda name: next((one for one in made.interfaces if one.name == name), None)
    )
    monkeypatch.setattr(process, "list_processes", lambda: tuple(made.processes))
    for module in (freebsd_firewalls, freebsd_guests):
        monkeypatch.setattr(module, "run", made.run)
    return made


@pytest.fixture
def view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> View:
    file = tmp_path / "site.toml"
    file.write_text('[host]\nkind = "freebsd"\n[network]\nunderlay = "em0"\nlocal_ip = "10.9.0.2"\n')
    monkeypatch.setattr(Layout, "interface", lambda self, suffix: suffix)
    facts = Facts(cpus=2, hostname="box", novnc_pages="/x", python="/x", helper="/x")
    view = View(Site(Layout(tmp_path), load_description(file), dict.fromkeys(secrets.NAMES, "0" * 32), facts))
    ports = {name: {"name": name, "type": "", "ofport": 1} for name in ("tap1", "em0")}
    vars(view).update(
        interfaces={**ports, "int": {"name": "int", "type": "internal", "ofport": 65534}},
        services={name: {"state": "running", "pid": 9} for name in ("neutron-ovs-agent", "ovs-vswitchd", "libvirtd")},
        namespaces={"qdhcp-one": 3, "qdhcp-gone": 4, "other": 5}, guests={"instance-1": 1, "instance-2": 5},
    )  # fmt: skip
    return view


def wrong(findings: Iterable[Finding]) -> list[Finding]:
    """Return what is wrong, each with a remedy."""
    found = [finding for finding in findings if not finding.ok]
    assert all(finding.remedy for finding in found)
    return found


def the_wrong(findings: Iterator[Finding]) -> Finding:
    """Return the one thing that is wrong."""
    (found,) = wrong(findings)
    return found


CHECKS: tuple[Callable[[View], Iterator[Finding]], ...] = (
    freebsd_kernel.check_modules, freebsd_kernel.check_settings, freebsd_kernel.check_jail,
    freebsd_firewalls.check_ipfw, freebsd_firewalls.check_pf, freebsd_ports.check_leftovers,
    freebsd_ports.check_dead_ports, freebsd_ports.check_frames, freebsd_ports.check_underlay,
    freebsd_guests.check_processor, freebsd_guests.check_machines,
)  # fmt: skip


@pytest.mark.parametrize("check", CHECKS)
def test_nothing_is_wrong_where_all_is_well(host: Host, view: View, check: Callable[[View], Iterator[Finding]]) -> None:
    findings = list(check(view))
    assert findings and not wrong(findings)


# The kernel


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_that_is_missing(host: Host, view: View, name: str) -> None:
    host.modules.discard(name)
    found = the_wrong(freebsd_kernel.check_modules(view))
    assert found.seen.startswith(f"{name} is not loaded: ") and found.remedy == f"kldload {name}"


@pytest.mark.parametrize("name", sorted(freebsd_kernel.SETTINGS))
def test_a_setting_that_guests_do_not_live_with(host: Host, view: View, name: str) -> None:
    host.values[name] = "0"
    found = the_wrong(freebsd_kernel.check_settings(view))
    assert found.seen.startswith(f"{name} is 0: ") and found.remedy.startswith(f"sysctl {name}=1; ")


def test_a_host_that_is_a_jail_with_too_little(host: Host, view: View) -> None:
    host.values |= {"security.jail.jailed": "1", "security.jail.children.max": "0", "security.jail.children.cur": "0",
                    "security.jail.vnet": "0", "security.jail.vmm_allowed": "0"}  # fmt: skip
    seen = [finding.seen for finding in wrong(freebsd_kernel.check_jail(view))]
    assert [text.rpartition(": ")[0] or text for text in seen] == [
        "this host is a jail itself, and it has no network stack of its own",
        "this host is a jail itself, and it may have 0 jails, and has 0",
        "this host is a jail itself, and it may not use vmm",
    ]
    host.values |= {"security.jail.children.max": "10", "security.jail.vnet": "1", "security.jail.vmm_allowed": "1"}
    assert not wrong(freebsd_kernel.check_jail(view))
    host.values["security.jail.children.cur"] = "10"
    assert "children.max=1000" in the_wrong(freebsd_kernel.check_jail(view)).remedy


# Firewalls


def test_an_ipfw_that_denies_everything(host: Host, view: View) -> None:
    host.modules.add("ipfw")
    host.values |= {"net.inet.ip.fw.default_to_accept": "0", "net.inet.ip.fw.enable": "1"}
    later, now = wrong(freebsd_firewalls.check_ipfw(view))
    assert "each new jail" in later.seen and "loader.conf" in later.remedy
    assert "the host, qdhcp-one" in now.seen and "sysctl -j qdhcp-one net.inet.ip.fw.enable=0" in now.remedy
    host.values["net.inet.ip.fw.enable"] = "0"
    assert "each new jail" in the_wrong(freebsd_firewalls.check_ipfw(view)).seen
    host.values["net.inet.ip.fw.default_to_accept"] = "1"
    assert not wrong(freebsd_firewalls.check_ipfw(view))


def test_a_pf_that_cuts_the_host_off(host: Host, view: View) -> None:
    host.modules.add("pf")
    host.output = {
        "pfctl -s info": "Status: Enabled for 0 days 00:10:00           Debug: Urgent\n",
        "pfctl -vs Interfaces": "all\nem0\nhost\nlo0 (skip)\n",
        "pfctl -s rules": "block drop in log all\npass in on em0 proto tcp from any to any port = ssh\n",
    }
    found = the_wrong(freebsd_firewalls.check_pf(view))
    assert "(block drop in log all)" in found.seen and found.remedy.startswith("set skip on host in /etc/pf.conf")


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("pfctl -s info", "Status: Disabled for 0 days 00:10:00          Debug: Urgent\n"),
        ("pfctl -vs Interfaces", "all\nem0\nhost (skip)\n"),
        ("pfctl -s rules", "block drop in all\npass quick on host all flags S/SA keep state\n"),
        ("pfctl -s rules", "block drop in on em0 all\n"),
        ("pfctl -s rules", ""),
    ],
)
def test_a_pf_that_does_no_harm(host: Host, view: View, command: str, output: str) -> None:
    host.modules.add("pf")
    host.output = {
        "pfctl -s info": "Status: Enabled for 0 days 00:10:00           Debug: Urgent\n",
        "pfctl -vs Interfaces": "all\nem0\nhost\n",
        "pfctl -s rules": "block drop in all\n",
        command: output,
    }
    assert not wrong(freebsd_firewalls.check_pf(view))


# Ports of the switch


def test_taps_that_a_switch_left(host: Host, view: View) -> None:
    host.change("ovs-netdev", opened_by=())
    found = the_wrong(freebsd_ports.check_leftovers(view))
    assert found.seen.startswith("ovs-netdev is left ") and found.remedy.startswith("ifconfig ovs-netdev destroy; kill")
    host.processes = [GUEST]
    assert [one.seen.split()[0] for one in wrong(freebsd_ports.check_leftovers(view))] == ["ovs-netdev", "int", "und"]


def test_a_release_that_does_not_tell_who_has_a_tap_open(host: Host, view: View) -> None:
    for name in ("ovs-netdev", "int", "und"):
        host.change(name, opened_by=())
    assert not wrong(freebsd_ports.check_leftovers(view))


def test_a_port_whose_interface_was_made_again(host: Host, view: View) -> None:
    host.change("tap1", flags=Words(1, ("UP", "PROMISC")))
    found = the_wrong(freebsd_ports.check_dead_ports(view))
    assert "tap1 was made anew" in found.seen and found.remedy.startswith("kill 9 ")
    host.interfaces = [one for one in host.interfaces if one.name != "tap1"]
    assert "tap1 is gone" in the_wrong(freebsd_ports.check_dead_ports(view)).seen
    view.interfaces["tap1"]["ofport"] = -1  # the switch tells of this one itself
    assert not wrong(freebsd_ports.check_dead_ports(view))


def test_checksums_that_are_left_to_somebody_else(host: Host, view: View) -> None:
    host.change("tap1", options=Words(2, ("TXCSUM",)))
    assert the_wrong(freebsd_ports.check_frames(view)).remedy == "ifconfig tap1 -txcsum -txcsum6"
    # An interface that is not in the switch is nobody's business here, and a card computes them itself.
    host.change("tap1", options=Words())
    host.change("em0", options=Words(2, ("TXCSUM",)))
    assert not wrong(freebsd_ports.check_frames(view))


def test_frames_longer_than_the_switch_reads(host: Host, view: View) -> None:
    host.change("em0", mtu=9000)
    found = the_wrong(freebsd_ports.check_frames(view))
    assert found.seen == "em0 has MTU 9000: the switch cuts frames at 2048 bytes"
    assert found.remedy == "ifconfig em0 mtu 2030"


def test_tunnels_without_their_address(host: Host, view: View) -> None:
    host.change("und", addresses=())
    assert the_wrong(freebsd_ports.check_underlay(view)).remedy == "ifconfig und inet 10.9.0.2/24 up"


# Guests


def test_a_processor_that_vmm_cannot_use(host: Host, view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freebsd_guests, "BOOT_MESSAGES", Path("/nonexistent"))
    host.values["hw.vmm.vmx.initialized"] = "0"
    found = the_wrong(freebsd_guests.check_processor(view))
    assert "no guest starts" in found.seen and "firmware" in found.remedy
    host.values["kern.vm_guest"] = "kvm"
    assert "nested virtualization" in the_wrong(freebsd_guests.check_processor(view)).remedy
    host.values["hw.vmm.svm.num_asids"] = "32768"
    assert not wrong(freebsd_guests.check_processor(view))


def test_a_processor_too_old_for_uefi(host: Host, view: View, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    messages = tmp_path / "dmesg.boot"
    messages.write_text("  Features2=0x98e3fd<SSE3,SSE4.2,POPCNT>\n  VT-x: PAT,HLT,MTF,PAUSE,EPT,VPID\n")
    monkeypatch.setattr(freebsd_guests, "BOOT_MESSAGES", messages)
    host.values["hw.vmm.vmx.cap.unrestricted_guest"] = "0"
    seen = the_wrong(freebsd_guests.check_processor(view)).seen
    assert "UEFI" in seen and seen.endswith("(the processor lacks UG)")


def test_features_of_processors_are_read_from_the_kernels_messages() -> None:
    assert freebsd_guests.missing_features("  Features2=0x98e3fd<SSE3>\n  VT-x: PAT,EPT,UG,VPID\n") == ["POPCNT"]
    assert freebsd_guests.missing_features("nothing of that\n") == []


def test_a_firmware_that_is_not_there(view: View, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(freebsd_guests, "FIRMWARE", tmp_path / "BHYVE_UEFI.fd")
    assert the_wrong(freebsd_guests.check_firmware(view)).remedy == "pkg install edk2-bhyve"
    (tmp_path / "BHYVE_UEFI.fd").touch()
    assert "is empty" in the_wrong(freebsd_guests.check_firmware(view)).seen
    (tmp_path / "BHYVE_UEFI.fd").write_text("code")
    assert not wrong(freebsd_guests.check_firmware(view))


@pytest.fixture
def hooked(host: Host, view: View, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let libvirt answer, and the hook be as up wrote it; returns the hook."""
    hook = tmp_path / "hook"
    monkeypatch.setattr(freebsd_hypervisor, "hook", lambda site: hook)
    hook.write_text(freebsd_hypervisor.hook_text(view.site))
    asked = f"virsh --connect {view.libvirt_uri} version --daemon"
    host.output[asked] = "Using API: BHYVE 11.3.0\nRunning against daemon: 11.3.0\n"
    return hook


def test_a_second_libvirtd(host: Host, view: View, hooked: Path) -> None:
    assert not wrong(freebsd_guests.check_libvirt(view))
    host.processes.append(process.Process(60, 1, 0, 0, "S", 1, 1, 0.0, "/usr/local/sbin/libvirtd --daemon"))
    found = the_wrong(freebsd_guests.check_libvirt(view))
    assert "libvirtd (pid 60)" in found.seen and found.remedy.startswith("service libvirtd onestop")


def test_a_libvirt_without_the_hook_and_too_old(host: Host, view: View, hooked: Path) -> None:
    hooked.unlink()
    asked = f"virsh --connect {view.libvirt_uri} version --daemon"
    host.output[asked] = "Running against daemon: 7.10.0\n"
    hook, version = wrong(freebsd_guests.check_libvirt(view))
    assert "the hook" in hook.seen and "7.10.0 is older" in version.seen


def test_guests_whose_bhyve_has_ended(host: Host, view: View, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(freebsd_hypervisor, "LOGS", tmp_path)
    (tmp_path / "instance-1.log").write_text("/usr/sbin/bhyve ... instance-1\nvm_open: Cannot allocate memory\n")
    host.processes = [SWITCH]
    assert "its log: vm_open: Cannot allocate memory" in the_wrong(freebsd_guests.check_machines(view)).seen
    # One that bhyve is setting up still has the arguments that it was started with.
    starting = "/usr/sbin/bhyve -c 1 -m 512 instance-1"
    host.processes = [process.Process(51, 1, 0, 0, "S", 1, 1, 0.0, starting)]
    assert not wrong(freebsd_guests.check_machines(view))


def test_a_machine_that_a_bhyve_left(host: Host, view: View, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machines = tmp_path / "vmm"
    for name in ("instance-1", "instance-2"):
        (machines / name).mkdir(parents=True)
    monkeypatch.setattr(freebsd_guests, "MACHINES", machines)
    assert the_wrong(freebsd_guests.check_machines(view)).remedy == "bhyvectl --vm=instance-2 --destroy"


def test_libvirts_guests_are_compared_with_novas(view: View) -> None:
    vars(view).update(servers=[])
    found = wrong(guests.check_guests(view))
    assert ["undefine instance-1" in one.remedy for one in found] == [True, False]
