"""The changes that let libvirt's bhyve driver, which upstream builds on FreeBSD only, be built on Linux.

They work for libvirt 9.0 to 12.x. Each is a regular expression for one place
of one file; a place that is not found is an error, never skipped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


class ChangeError(Exception):
    """A place to be changed in libvirt's source was not found."""


@dataclass(frozen=True)
class Change:
    """Replace ``old`` (a regular expression, multi-line) by ``new`` wherever it occurs in ``file``."""

    file: str
    old: str
    new: str


CHANGES = (
    # The driver is offered on FreeBSD only, with the programs' paths as found while building.
    Change("meson.build", r"(not get_option\('driver_bhyve'\)\.disabled\(\)) and host_machine[^\n]*", r"\1"),
    Change("meson.build", r"(bhyve|bhyvectl|bhyveload)_prog\.full_path\(\)", r"'/usr/sbin/\1'"),
    # Programs of the build machine must not be named in the result: inside the host they are found through PATH.
    Change("meson.build", r"(?<=prog_path = )prog\.full_path\(\)", "name"),
    # Taps are made by the simulated kernel, with a driver name of their own.
    Change("src/util/virnetdevtap.c", r'^(VIR_LOG_INIT\("util\.netdevtap"\);)$', r'\1\n\n#include "simulated_tap.h"'),
    Change(
        "src/util/virnetdevtap.c",
        r"^#ifdef IFDATA_DRIVERNAME$",
        "#if 1\n    return simulatedTapDriver(ifname);\n#elif defined(IFDATA_DRIVERNAME)",
    ),
    Change(
        "src/util/virnetdevtap.c",
        r"^#ifdef TUNSETIFF\n(?=/\*\*\n \* virNetDevTapCreate:)",
        "#if 1\n"
        "int virNetDevTapCreate(char **ifname, const char *tunpath G_GNUC_UNUSED,\n"
        "                       int *tapfd G_GNUC_UNUSED, size_t tapfdSize G_GNUC_UNUSED,\n"
        "                       unsigned int flags G_GNUC_UNUSED)\n"
        "{\n    return simulatedTapCreate(ifname);\n}\n\n"
        "int virNetDevTapDelete(const char *ifname, const char *tunpath G_GNUC_UNUSED)\n"
        "{\n    return simulatedTapDelete(ifname);\n}\n"
        "#elif defined(TUNSETIFF)\n",
    ),
    # Bridge members are the simulated kernel's, too.
    Change(
        "src/util/virnetdevbridge.c",
        r'^(VIR_LOG_INIT\("util\.netdevbridge"\);)$',
        r'\1\n\n#include "simulated_bridge.h"',
    ),
    Change(
        "src/util/virnetdevbridge.c",
        r"ioctl\(fd, (SIOCBR(?:ADD|DEL)IF), &ifr\)",
        r"simulatedIfconfig(brname, SIMULATED_\1, ifname, NULL)",
    ),
    # The daemon finds itself a place where /proc is.
    Change(
        "src/remote/remote_daemon.c",
        r"^int main\(int argc, char \*\*argv\) \{$",
        '#include "simulated_start.h"\n\nint main(int argc, char **argv) {',
    ),
    Change(
        "src/remote/remote_daemon.c",
        r"^(    if \(virGettextInitialize\(\) < 0 \|\|)$",
        r"    simulatedStart(argc, argv);\n\1",
    ),
    # conn.getVersion() is the release of FreeBSD.
    Change("src/bhyve/bhyve_driver.c", r"(#include <sys/utsname\.h>)", r'\1\n#include "simulated_uname.h"'),
    Change("src/bhyve/bhyve_driver.c", r"\buname\(&ver\)", "simulated_uname(&ver)"),
    # Node information takes FreeBSD's code, with what that can and cannot tell.
    *(
        Change(f"src/util/{file}", old, new)
        for file in ("virhostcpu.c", "virhostmem.c")
        for old, new in (
            # Not the helpers that other files call on Linux: these begin with definitions.
            (r"^#( *)ifdef __linux__(?!\n# *define)", r"#\1if 0"),
            (r"^#( *)ifdef __FreeBSD__", r"#\1if 1"),
            (r"defined\(__linux__\)", "0"),
            (r"defined\(__FreeBSD__\)", "1"),
        )
    ),
    # There is no /dev/kvm on FreeBSD.
    Change("src/util/virhostcpu.c", r"\bWITH_LINUX_KVM_H\b", "0"),
    Change("src/util/virhostmem.c", r"defined WITH_SYSCTLBYNAME", "1"),
)


def apply_changes(source: Path) -> None:
    """Change an unpacked source tree of libvirt in place.

    :raises ChangeError: a file, or a place in it, is not there
    """
    for change in CHANGES:
        path = source / change.file
        try:
            text = path.read_text()
        except FileNotFoundError:
            raise ChangeError(f"libvirt's source has no file {change.file}") from None
        changed, count = re.subn(change.old, change.new, text, flags=re.MULTILINE)
        if count == 0:
            raise ChangeError(f"{change.file} of libvirt's source has no place like {change.old!r}")
        path.write_text(changed)
