"""What a package of FreeBSD brings to a simulated host: Linux's own programs at FreeBSD's places, and rc scripts.

The kernel's view of the file system is Linux's, so what Linux has can be
looked for here; the links themselves lead through the host's ``/.sim/linux``.
Packages of Python modules bring nothing: a virtual environment that was made
on Linux holds them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from freebsd_sim.files import copy, link

PACKAGE = Path(__file__).resolve().parent
LIBVIRT_VERSION = ".sim/libvirt-version"

#: Programs by package and place. Those marked need /proc and so run through .sim/bin/native.
PROGRAMS: dict[str, dict[str, str]] = {
    "bash": {"usr/local/bin": "bash"},
    "cdrtools": {"usr/local/bin": "mkisofs"},
    "curl": {"usr/local/bin": "curl"},
    "dnsmasq": {"usr/local/sbin": "dnsmasq!"},
    "git": {"usr/local/bin": "git"},
    "haproxy": {"usr/local/bin": "haproxy", "usr/local/sbin": "haproxy"},
    "iperf3": {"usr/local/bin": "iperf3"},
    "jq": {"usr/local/bin": "jq"},
    "mariadb118-client": {"usr/local/bin": "mariadb mariadb-admin mariadb-dump mysql"},
    "mariadb118-server": {"usr/local/libexec": "mariadbd"},
    "openvswitch": {
        "usr/local/bin": "ovs-appctl! ovs-ofctl ovs-vsctl ovsdb-client ovsdb-tool",
        "usr/local/sbin": "ovs-vswitchd! ovsdb-server!",
    },
    "perl5": {"usr/local/bin": "perl"},
    "qemu-tools": {"usr/local/bin": "qemu-img"},
    "rabbitmq": {"usr/local/sbin": "rabbitmq-server rabbitmqctl"},
    "radvd": {"usr/local/sbin": "radvd!"},
    "socat": {"usr/local/bin": "socat"},
    "tcpdump": {"usr/local/sbin": "tcpdump!"},
    "wget": {"usr/local/bin": "wget"},
    "xorriso": {"usr/local/bin": "xorriso xorrisofs"},
}

#: Scripts of rc/usr/local/etc/rc.d by package.
SCRIPTS = {"libvirt": ("libvirtd", "virtlogd"), "openvswitch": ("ovs-vswitchd", "ovsdb-server")}

#: Programs that a library stands in front of, so that Linux's build behaves as FreeBSD's; by name, below .sim/bin.
PRELOADED = {"ovs-vswitchd": "ovs.so"}

# Linux's script looks for its helpers below the directory that it was built for.
INSTALL_DB = """\
#!/.sim/linux/bin/sh
defaults=$1
shift
exec /.sim/linux/usr/bin/mariadb-install-db "$defaults" --basedir=/.sim/linux/usr "$@"
"""
# On Linux the broker reads its memory use from /proc.
ERLANG = """\
#!/.sim/linux/bin/sh
exec /usr/lib/erlang/bin/erl -rabbit vm_memory_calculation_strategy allocated "$@"
"""
NOVNC_PAGE = "<!DOCTYPE html><title>noVNC</title><p>freebsd-sim: not simulated: the pages of noVNC\n"
FIRMWARE = {
    "BHYVE_UEFI.fd": ("OVMF/OVMF_CODE.fd", "OVMF/OVMF_CODE_4M.fd"),
    "BHYVE_UEFI_CODE.fd": ("OVMF/OVMF_CODE.fd", "OVMF/OVMF_CODE_4M.fd"),
    "BHYVE_UEFI_VARS.fd": ("OVMF/OVMF_VARS.fd", "OVMF/OVMF_VARS_4M.fd"),
}


def place(root: Path, package: str, libvirt: Path | None) -> list[str]:
    """Lay down what a package brings, as far as Linux has it; return the paths in the host.

    :param libvirt: install tree of the libvirtd with the bhyve driver, if it was built
    """
    placed = []
    for directory, names in PROGRAMS.get(package, {}).items():
        for name in names.split():
            path = root / directory / name.rstrip("!")
            if lend(path, native=name.endswith("!")):
                placed.append(path)
    for name in SCRIPTS.get(package, ()):
        path = root / "usr/local/etc/rc.d" / name
        copy(PACKAGE / "rc/usr/local/etc/rc.d" / name, path)
        placed.append(path)
    special = _SPECIAL.get(package)
    if special is not None:
        placed += special(root)
    if package == "libvirt" and libvirt is not None:
        placed += _place_libvirt(root, libvirt)
    return [f"/{path.relative_to(root)}" for path in placed]


def remove(root: Path, files: list[str]) -> None:
    """Take away what ``place`` laid down, and directories that are empty then."""
    for file in files:
        path = root / file.lstrip("/")
        path.unlink(missing_ok=True)
        for parent in path.parents:
            inside = parent.relative_to(root) if parent != root else None
            # hier(7)'s own directories stay.
            if inside is None or len(inside.parts) <= 3 or any(parent.iterdir()):
                break
            parent.rmdir()


def lend(path: Path, *, native: bool) -> bool:
    """Put Linux's program of a name at a place; return whether Linux has it."""
    for place in ("/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/lib/rabbitmq/bin"):
        source = f"{place}/{path.name}"
        if os.path.exists(source):
            break
    else:
        return False
    # Linux's own links (as those through /etc/alternatives) lead elsewhere inside the host.
    source = os.path.realpath(source)
    if native:
        path.unlink(missing_ok=True)
        first = f"export LD_PRELOAD=/.sim/bin/{PRELOADED[path.name]}\n" if path.name in PRELOADED else ""
        path.write_text(f'#!/.sim/linux/bin/sh\n{first}exec /.sim/bin/native /.sim/linux{source} "$@"\n')
        path.chmod(0o755)
    else:
        link(path, f"/.sim/linux{source}")
    return True


def _place_switch(root: Path) -> list[Path]:
    path = root / "usr/local/share/openvswitch"
    link(path, "/usr/share/openvswitch")
    return [path]


def _place_firmware(root: Path) -> list[Path]:
    directory = root / "usr/local/share/uefi-firmware"
    directory.mkdir(exist_ok=True)
    placed = []
    for name, sources in FIRMWARE.items():
        for source in sources:
            if Path("/usr/share", source).exists():
                link(directory / name, f"/usr/share/{source}")
                placed.append(directory / name)
                break
    return placed


def _place_database(root: Path) -> list[Path]:
    script = root / "usr/local/bin/mariadb-install-db"
    if not os.path.exists("/usr/bin/mariadb-install-db"):
        return []
    script.write_text(INSTALL_DB)
    script.chmod(0o755)
    return [script]


def _place_broker(root: Path) -> list[Path]:
    placed = []
    for home in Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"):
        path = root / "usr/local/lib" / home.name
        link(path, str(home))
        placed.append(path)
    return placed


def _place_erlang(root: Path) -> list[Path]:
    if not os.path.exists("/usr/lib/erlang/bin/epmd"):
        return []
    programs = root / "usr/local/lib/erlang27/bin"
    programs.mkdir(parents=True, exist_ok=True)
    link(programs / "epmd", os.path.realpath("/usr/lib/erlang/bin/epmd"))
    (programs / "erl").write_text(ERLANG)
    (programs / "erl").chmod(0o755)
    return [programs / "epmd", programs / "erl"]


def _place_pages(root: Path) -> list[Path]:
    page = root / "usr/local/libexec/novnc/vnc_lite.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(NOVNC_PAGE)
    return [page]


_SPECIAL: dict[str, Callable[[Path], list[Path]]] = {
    "edk2-bhyve": _place_firmware,
    "erlang-runtime27": _place_erlang,
    "mariadb118-server": _place_database,
    "novnc": _place_pages,
    "openvswitch": _place_switch,
    "rabbitmq": _place_broker,
}


def _place_libvirt(root: Path, tree: Path) -> list[Path]:
    placed = []
    for part in ("usr", "var"):
        placed += _merge(tree / part, root / part)
    copy(tree / "version", root / LIBVIRT_VERSION)
    return placed


def _merge(tree: Path, root: Path) -> list[Path]:
    placed = []
    for source in tree.rglob("*"):
        target = root / source.relative_to(tree)
        if source.is_dir() and not source.is_symlink():
            target.mkdir(parents=True, exist_ok=True)
            continue
        placed.append(target)
        if source.is_symlink():
            link(target, os.readlink(source))
        elif not target.exists() or source.stat().st_mtime > target.stat().st_mtime:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return placed
