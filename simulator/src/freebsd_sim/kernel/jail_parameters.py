"""The parameters that a jail has: their kinds, who may set them, and their textual form.

jail(8), jail(2), libjail's jailparam_import and jailparam_export, and the
security.jail.param tree of sys/kern/kern_jail.c.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from freebsd_sim.kernel.errors import KernelError, strerror

READ_ONLY = "ro"
AT_CREATION = "tunable"  # may be given when the jail is made, not changed afterwards
SETTABLE = "rw"

BOOLEAN = "boolean"
INTEGER = "integer"
JAILSYS = "jailsys"
STRING = "string"
IPV4 = "IPv4"
IPV6 = "IPv6"

JAILSYS_VALUES = ("disable", "new", "inherit")
DEFAULT_HOSTUUID = "00000000-0000-0000-0000-000000000000"

ALLOWED_BY_DEFAULT = ("set_hostname", "reserved_ports", "unprivileged_proc_debug", "suser")
ALLOW = (
    *ALLOWED_BY_DEFAULT, "sysvipc", "raw_sockets", "chflags", "quotas", "socket_af", "mlock", "read_msgbuf", "nfsd",
    "extattr", "adjtime", "settime", "vmm", "mount", "mount.devfs", "mount.fdescfs", "mount.nullfs", "mount.procfs",
    "mount.tmpfs", "mount.zfs",
)  # fmt: skip
ALLOW_SINCE = {"unprivileged_parent_tampering": (15, 0), "routing": (15, 0), "setaudit": (15, 0), "vmm_ppt": (15, 1)}
SINCE = {"meta": (14, 4), "env": (14, 4)}


@dataclass(frozen=True)
class Parameter:
    """One parameter. ``default`` is the textual value of a new jail that does not say otherwise."""

    name: str
    kind: str
    access: str
    default: str = ""
    longest: int = 255  # of a string, in bytes


def _make_table() -> dict[str, Parameter]:
    rows = [
        Parameter("jid", INTEGER, AT_CREATION),
        Parameter("parent", INTEGER, READ_ONLY),
        Parameter("name", STRING, SETTABLE),
        Parameter("path", STRING, AT_CREATION, "/", 1023),
        Parameter("securelevel", INTEGER, SETTABLE, "-1"),
        Parameter("osreldate", INTEGER, AT_CREATION),
        Parameter("osrelease", STRING, AT_CREATION, longest=31),
        Parameter("enforce_statfs", INTEGER, SETTABLE, "2"),
        Parameter("devfs_ruleset", INTEGER, SETTABLE, "0"),
        Parameter("persist", BOOLEAN, SETTABLE, "false"),
        Parameter("vnet", JAILSYS, AT_CREATION, "inherit"),
        Parameter("dying", BOOLEAN, READ_ONLY),
        Parameter("children.cur", INTEGER, READ_ONLY),
        Parameter("children.max", INTEGER, SETTABLE, "0"),
        Parameter("host", JAILSYS, SETTABLE, "new"),
        Parameter("host.hostname", STRING, SETTABLE),
        Parameter("host.domainname", STRING, SETTABLE),
        Parameter("host.hostuuid", STRING, SETTABLE, DEFAULT_HOSTUUID, 63),
        Parameter("host.hostid", INTEGER, SETTABLE, "0"),
        Parameter("cpuset.id", INTEGER, READ_ONLY),
        Parameter("ip4", JAILSYS, AT_CREATION, "disable"),
        Parameter("ip4.addr", IPV4, SETTABLE),
        Parameter("ip4.saddrsel", BOOLEAN, SETTABLE, "true"),
        Parameter("ip6", JAILSYS, AT_CREATION, "disable"),
        Parameter("ip6.addr", IPV6, SETTABLE),
        Parameter("ip6.saddrsel", BOOLEAN, SETTABLE, "true"),
        Parameter("sysvmsg", JAILSYS, SETTABLE, "disable"),
        Parameter("sysvsem", JAILSYS, SETTABLE, "disable"),
        Parameter("sysvshm", JAILSYS, SETTABLE, "disable"),
        Parameter("zfs", JAILSYS, SETTABLE, "disable"),
        Parameter("zfs.mount_snapshot", INTEGER, SETTABLE, "0"),
        Parameter("meta", STRING, SETTABLE, longest=4095),
        Parameter("env", STRING, SETTABLE, longest=4095),
    ]
    for name in (*ALLOW, *ALLOW_SINCE):
        rows.append(Parameter(f"allow.{name}", BOOLEAN, SETTABLE, "true" if name in ALLOWED_BY_DEFAULT else "false"))
    return {row.name: row for row in rows}


_TABLE = _make_table()


class Table:
    """The parameters of one release."""

    def __init__(self, release: tuple[int, int]) -> None:
        since = SINCE | {f"allow.{name}": first for name, first in ALLOW_SINCE.items()}
        self.parameters = {name: row for name, row in _TABLE.items() if since.get(name, (0, 0)) <= release}

    def find(self, name: str) -> tuple[Parameter, bool]:
        """Return a parameter by its name, and whether the name is the negative form of it ("nopersist").

        :raises KernelError: ENOENT, "unknown parameter: NAME"
        """
        parameter = self.parameters.get(name)
        if parameter is not None:
            return parameter, False
        head, dot, tail = name.rpartition(".")
        if tail.startswith("no"):
            parameter = self.parameters.get(f"{head}{dot}{tail[2:]}")
            if parameter is not None and parameter.kind == BOOLEAN:
                return parameter, True
        raise KernelError("ENOENT", f"unknown parameter: {name}")

    def import_value(self, name: str, value: str | None) -> tuple[Parameter, str]:
        """Turn what was written for a parameter into its textual form; None stands for a name without "=".

        :raises KernelError: with libjail's texts
        """
        parameter, negated = self.find(name)
        if parameter.kind == BOOLEAN:
            truth = True if value is None else _import_boolean(name, value)
            return parameter, "true" if truth != negated else "false"
        if parameter.kind == JAILSYS:
            return parameter, _import_jailsys(name, value or "new")
        if parameter.kind == INTEGER:
            return parameter, _import_integer(name, value or "")
        if parameter.kind in (IPV4, IPV6):
            return parameter, _import_addresses(parameter, value or "")
        if len((value or "").encode()) > parameter.longest:
            raise KernelError("ENAMETOOLONG", "jail_set: File name too long")
        return parameter, value or ""


def _import_boolean(name: str, value: str) -> bool:
    words = {"false": False, "true": True}
    if value.lower() in words:
        return words[value.lower()]
    try:
        return int(value, 10) != 0
    except ValueError:
        raise KernelError("EINVAL", f'{name}: unknown boolean value "{value}"') from None


def _import_jailsys(name: str, value: str) -> str:
    if value.lower() in JAILSYS_VALUES:
        return value.lower()
    if value in ("0", "1", "2"):
        return JAILSYS_VALUES[int(value)]
    raise KernelError("EINVAL", f'{name}: unknown jailsys value "{value}"')


def _import_integer(name: str, value: str) -> str:
    try:
        return str(int(value, 10)) if value else "0"
    except ValueError:
        raise KernelError("EINVAL", f'{name}: non-integer value "{value}"') from None


def _import_addresses(parameter: Parameter, value: str) -> str:
    if value in ("", "-"):
        return ""
    kind = ipaddress.IPv4Address if parameter.kind == IPV4 else ipaddress.IPv6Address
    for word in value.split(","):
        try:
            kind(word)
        except ValueError:
            raise KernelError("EINVAL", f"{parameter.name}: not an {parameter.kind} address: {word}") from None
    return value


def negative_name(name: str) -> str:
    """Return the form of a boolean's name that means false: "allow.noraw_sockets"."""
    head, dot, tail = name.rpartition(".")
    return f"{head}{dot}no{tail}"


def check_request(values: dict[str, str], *, create: bool, update: bool, attach: bool) -> None:
    """Refuse what jail_set(2) refuses before it looks for the jail."""
    if create and not update and not attach and values.get("persist") != "true":
        raise KernelError("EINVAL", "new jail must persist or attach")
    if update and "vnet" in values:
        raise KernelError("EINVAL", "vnet cannot be changed after creation")
    addresses = values.keys() & {"ip4", "ip6", "ip4.addr", "ip6.addr"}
    if "vnet" in values and addresses:
        raise KernelError("EINVAL", "vnet jails cannot have IP address restrictions")
    for name in ("ip4", "ip6", "osrelease", "osreldate", "path"):
        if update and name in values:
            raise KernelError("EINVAL", f"{name} cannot be changed after creation")
    if values.get("vnet") == "disable" or values.get("host") == "disable":
        raise make_refusal("EINVAL")


def make_refusal(name: str) -> KernelError:
    """Return what libjail makes of an errno that came without a text."""
    return KernelError(name, f"jail_set: {strerror(name)}")
