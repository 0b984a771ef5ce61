"""Sees what the program does through Python's audit events (PEP 578): records Linuxisms, and refuses what cannot be.

A hook is called for every event of the process, so the first look at an
event must be short.
"""

from __future__ import annotations

import errno
import genericpath
import os
import posixpath
import sys

from . import device_nodes
from .recorder import record

TYPE_CHECKING = False  # typing costs more than all the rest of the start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LINUX_COMMANDS = """
    ip iptables ip6tables iptables-save iptables-restore ip6tables-save ip6tables-restore ebtables arptables nft ipset
    conntrack tc brctl bridge ethtool ss ifup ifdown dhcp_release dhcp_release6
    modprobe insmod rmmod lsmod modinfo depmod systemctl journalctl loginctl hostnamectl timedatectl udevadm
    unshare nsenter lsns setpriv capsh setcap getcap prlimit sudo flock pidof start-stop-daemon taskset chrt ionice
    lsblk losetup blkid partprobe parted sfdisk kpartx dmsetup lvs vgs pvs lvcreate lvremove e2label resize2fs qemu-nbd
    lscpu lspci lsusb free keepalived apt-get dpkg yum dnf rpm useradd usermod userdel groupadd setfattr getfattr
    """
LINUX_COMMANDS = frozenset(_LINUX_COMMANDS.split())
WRAPPERS = frozenset({"env", "nohup", "nice", "sudo", "doas", "mdo", "timeout", "daemon", "jexec", "setfib", "exec"})
WRAPPERS_WITH_ARGUMENT = frozenset({"jexec", "timeout", "setfib"})
SHELLS = frozenset({"sh", "bash", "dash"})

# socket(2)'s families by Linux's numbers: AF_NETLINK, AF_PACKET (AF_ROUTE on FreeBSD), AF_ALG, AF_VSOCK.
LINUX_FAMILIES = {16: "AF_NETLINK", 17: "AF_PACKET", 38: "AF_ALG", 40: "AF_VSOCK"}


def _see_open(arguments: tuple[Any, ...]) -> None:
    path = arguments[0]
    if type(path) is bytes:
        path = path.decode(errors="replace")
    if type(path) is not str or path[:1] != "/":
        return
    start = path[:5]
    if start in ("/proc", "/sys", "/sys/"):
        _see_file("open", path)
    elif start == "/dev/" and path not in device_nodes.USUAL_NODES:
        device_nodes.before_open(path, arguments[2])


def _see_file(kind: str, path: Any) -> None:
    if type(path) is bytes:
        path = path.decode(errors="replace")
    if type(path) is str and (path + "/").startswith(("/proc/", "/sys/")):
        record(kind, path)


def _see_listdir(arguments: tuple[Any, ...]) -> None:
    _see_file("listdir", arguments[0])


def _see_popen(arguments: tuple[Any, ...]) -> None:
    _see_command(arguments[1])


def _see_exec(arguments: tuple[Any, ...]) -> None:
    _see_command([arguments[0], *list(arguments[1])[1:]])


def _see_system(arguments: tuple[Any, ...]) -> None:
    _see_shell(os.fsdecode(arguments[0]))


def _see_command(argv: Any) -> None:
    if isinstance(argv, (str, bytes, os.PathLike)):
        argv = [argv]
    words = [os.fsdecode(word) for word in argv if isinstance(word, (str, bytes, os.PathLike))]
    found = find_linux_command(words)
    if found is not None:
        record("exec", found)
    elif len(words) > 2 and os.path.basename(words[0]) in SHELLS and words[1] == "-c":
        _see_shell(words[2])


def _see_shell(text: str) -> None:
    import re

    for part in re.split(r"[;&|\n]+|\$\(|`", text):
        found = find_linux_command(part.split())
        if found is not None:
            record("exec", found)


def is_assignment(word: str) -> bool:
    """Tell whether a word before a command sets a variable for it."""
    name, equals, _ = word.partition("=")
    return bool(equals) and name.isidentifier()


def find_linux_command(words: list[str]) -> str | None:
    """Return the command of an argument list if FreeBSD does not have it or not with these arguments."""
    position = 0
    while position < len(words) and is_assignment(words[position]):
        position += 1
    while position < len(words):
        name = os.path.basename(words[position])
        if name in LINUX_COMMANDS:
            return " ".join(words[position : position + 4])
        rest = words[position + 1 :]
        if name == "mount" and any(word in ("--bind", "--rbind", "--make-rshared", "bind") for word in rest):
            return " ".join(words[position : position + 4])
        if name == "sysctl" and "-w" in rest[:2]:
            return " ".join(words[position : position + 4])
        if name == "stat" and rest[:1] == ["-c"]:
            return "stat -c"
        if name not in WRAPPERS:
            return None
        position += 1
        while position < len(words) and (words[position].startswith("-") or "=" in words[position]):
            position += 1
        if name in WRAPPERS_WITH_ARGUMENT:
            position += 1
    return None


def _see_socket(arguments: tuple[Any, ...]) -> None:
    family = arguments[1]
    name = LINUX_FAMILIES.get(int(family))
    if name is not None:
        record("socket", f"{name} ({int(family)})")
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol family")


def _see_ioctl(arguments: tuple[Any, ...]) -> None:
    request = int(arguments[1]) & 0xFFFFFFFF
    # asm-generic/sockios.h has plain numbers from 0x8900; if_tun.h and nsfs.h have their letter and a size.
    if 0x8900 <= request <= 0x89FF or (request > 0xFFFF and 0x54C8 <= request & 0xFFFF <= 0x54E3):
        record("ioctl", hex(request))
        raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")


CHECKS: dict[str, Callable[[tuple[Any, ...]], None]] = {
    "open": _see_open,
    "os.listdir": _see_listdir,
    "os.scandir": _see_listdir,
    "subprocess.Popen": _see_popen,
    "os.exec": _see_exec,
    "os.posix_spawn": _see_exec,
    "os.system": _see_system,
    "socket.__new__": _see_socket,
    "fcntl.ioctl": _see_ioctl,
}


def _hook(event: str, arguments: tuple[Any, ...], get: Any = CHECKS.get) -> None:
    check = get(event)
    if check is not None:
        check(arguments)


def _watch(function: Callable[..., Any], kind: str) -> Callable[..., Any]:
    """Wrap a function of a path that has no audit event."""

    def watched(path: Any, *args: Any, **keywords: Any) -> Any:
        if type(path) is str and path[:5] in ("/proc", "/sys/", "/dev/"):
            if path[:9] == "/dev/nmdm":
                device_nodes.look_up(path)
            else:
                _see_file(kind, path)
        return function(path, *args, **keywords)

    watched.__name__ = watched.__qualname__ = function.__name__
    watched.__doc__ = function.__doc__
    watched.__module__ = function.__module__
    return watched


def install() -> None:
    """Begin to watch this process. It cannot be ended."""
    for name in ("exists", "isfile", "isdir"):
        function = _watch(getattr(posixpath, name), "stat")
        setattr(posixpath, name, function)
        setattr(genericpath, name, function)
    readlink = os.readlink
    os.readlink = _watch(readlink, "readlink")
    if readlink in os.supports_dir_fd:
        os.supports_dir_fd.add(os.readlink)
    sys.addaudithook(_hook)
