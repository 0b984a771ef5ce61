"""The simulated host's root directory: what FreeBSD has at its places, and what Linux must lend underneath.

The parts that are plain files are written by ``populate``; what has to be
mounted is mounted by ``mount_all`` each time the host starts, in the mount
namespace of its kernel.
"""

from __future__ import annotations

import os
from pathlib import Path

from freebsd_sim import commands, linux, package_database, standins
from freebsd_sim.files import copy, link
from freebsd_sim.kernel import Release
from freebsd_sim.standins import LIBVIRT_VERSION

PACKAGE = Path(__file__).resolve().parent

DIRECTORIES = (
    "bin", "boot", "dev", "etc", "etc/rc.d", "etc/rc.conf.d", "home", "lib", "lib64", "libexec", "mnt", "proc",
    "root", "sbin", "sys", "tmp", "usr/bin", "usr/lib", "usr/lib64", "usr/libexec", "usr/local/bin",
    "usr/local/etc", "usr/local/etc/rc.d", "usr/local/etc/rc.conf.d", "usr/local/lib", "usr/local/libexec",
    "usr/local/sbin", "usr/local/share", "usr/sbin", "usr/share", "var/cache", "var/db", "var/db/openvswitch",
    "var/empty", "var/lib", "var/log", "var/log/openvswitch", "var/run", "var/run/openvswitch", "var/tmp",
    "var/spool", ".sim/bin", ".sim/exits", ".sim/lib", ".sim/linux", ".sim/net",
)  # fmt: skip

# Programs that both systems have, by FreeBSD's place. Linux's are lent: their options are GNU's.
SHARED_PROGRAMS = {
    "bin": ("cat chmod cp date dd df echo ed expr kill ln ls mkdir mv pwd rm rmdir sh sleep stty sync test [ realpath"),
    "usr/bin": (
        "awk basename bc bunzip2 bzip2 cksum cmp comm cut diff dirname du env expand expr false file find fold getconf"
        " grep egrep fgrep gunzip gzip head id install join less logger logname m4 make mkfifo mktemp more nc nice"
        " nl nohup od openssl passwd paste patch pr printenv printf readlink rev scp sed seq sftp sort split ssh"
        " ssh-keygen tail tar tee time timeout touch tr true truncate tsort tty unexpand uniq wc which who whoami"
        " xargs xz yes zcat"
    ),
    "usr/sbin": "chown chroot",
    "sbin": "md5sum",
}

# mdo(1) takes another user's identity for whom the kernel's rules allow it.
SET_USER_ID = ("usr/bin/mdo",)
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
PASSWD = """\
root:*:0:0:Charlie &:/root:/bin/sh
toor:*:0:0:Bourne-again Superuser:/root:
daemon:*:1:1:Owner of many system processes:/root:/usr/sbin/nologin
operator:*:2:5:System &:/:/usr/sbin/nologin
bin:*:3:7:Binaries Commands and Source:/:/usr/sbin/nologin
tty:*:4:65533:Tty Sandbox:/:/usr/sbin/nologin
kmem:*:5:65533:KMem Sandbox:/:/usr/sbin/nologin
sshd:*:22:22:Secure Shell Daemon:/var/empty:/usr/sbin/nologin
uucp:*:66:66:UUCP pseudo-user:/var/spool/uucppublic:/usr/local/libexec/uucp/uucico
www:*:80:80:World Wide Web Owner:/nonexistent:/usr/sbin/nologin
nobody:*:65534:65534:Unprivileged user:/nonexistent:/usr/sbin/nologin
"""
GROUP = """\
wheel:*:0:root
daemon:*:1:
kmem:*:2:
sys:*:3:
tty:*:4:
operator:*:5:root
mail:*:6:
bin:*:7:
staff:*:20:
sshd:*:22:
guest:*:31:
uucp:*:66:
dialer:*:68:
network:*:69:
www:*:80:
nogroup:*:65533:
nobody:*:65534:
"""


def populate(
    root: Path, name: str, release: Release, native: Path, libvirt: Path | None, *, bare: bool = False
) -> None:
    """Write the plain files of a host's root; what the host has changed since is left alone.

    :param native: directory with the compiled helpers simcall and native
    :param libvirt: install tree of the libvirtd with the bhyve driver, if it was built
    :param bare: make a new host with no packages but Python
    """
    for directory in DIRECTORIES:
        (root / directory).mkdir(parents=True, exist_ok=True)
    for directory in ("tmp", "var/tmp", ".sim/exits"):
        (root / directory).chmod(0o1777)
    (root / "root").chmod(0o700)
    for item in native.iterdir():
        copy(item, root / ".sim/bin" / item.name)
    (root / ".sim/release").write_text(release.number + "\n")
    linuxisms = root / ".sim/linuxisms"
    linuxisms.touch()
    linuxisms.chmod(0o622)
    _write_etc(root, name)
    _lend_programs(root)
    _lend_python(root)
    package_database.refresh(root, libvirt, bare=bare)
    for path in commands.COMMANDS:
        link(root / path.lstrip("/"), "/.sim/bin/simcall")
    for path in SET_USER_ID:
        program = root / path
        program.unlink()
        copy(native / "simcall", program)
        program.chmod(0o4555)
    for path, target in commands.LINKS.items():
        link(root / path.lstrip("/"), target)
    link(root / "var/run/log", "/dev/log")
    if not (root / "run").is_symlink():
        link(root / "run", "/var/run")


def clear_run(root: Path) -> None:
    """Remove what does not outlive a start: pid files and sockets (rc.d/cleanvar), exit statuses of processes."""
    for directory in ("var/run", ".sim/exits"):
        for path in (root / directory).rglob("*"):
            if not path.is_dir() or path.is_symlink():
                path.unlink()
    link(root / "var/run/log", "/dev/log")


def installed_libvirt(root: Path) -> str | None:
    """Return the version of the libvirt in a host's root, or None."""
    version = root / LIBVIRT_VERSION
    return version.read_text().strip() if version.exists() else None


def _write_etc(root: Path, name: str) -> None:
    first = {
        "passwd": PASSWD,
        "master.passwd": "".join(
            ":".join([*line.split(":")[:4], "", "0", "0", *line.split(":")[4:]]) + "\n" for line in PASSWD.splitlines()
        ),
        "group": GROUP,
        "hosts": f"::1\t\tlocalhost {name}\n127.0.0.1\tlocalhost {name}\n",
        "rc.conf": f'hostname="{name}"\n',
        "nsswitch.conf": "group: files\nhosts: files dns\npasswd: files\nprotocols: files\nservices: files\n",
        "sysctl.conf": "",
        "shells": "/bin/sh\n/bin/csh\n/bin/tcsh\n",
    }
    for file, text in first.items():
        if not (root / "etc" / file).exists():
            (root / "etc" / file).write_text(text)
    (root / "etc/master.passwd").chmod(0o600)
    for file in ("resolv.conf", "services", "protocols", "localtime", "ld.so.cache"):
        source = Path("/etc", file)
        if source.exists():
            copy(source, root / "etc" / file)
    link(root / "etc/ssl", "/.sim/linux/etc/ssl")
    link(root / "etc/alternatives", "/.sim/linux/etc/alternatives")
    for source in (PACKAGE / "rc").rglob("*"):
        # Those below usr/local come with packages.
        if source.is_file() and source.relative_to(PACKAGE / "rc").parts[:2] != ("usr", "local"):
            target = root / source.relative_to(PACKAGE / "rc")
            target.parent.mkdir(parents=True, exist_ok=True)
            copy(source, target)


def _lend_programs(root: Path) -> None:
    for directory, names in SHARED_PROGRAMS.items():
        for name in names.split():
            standins.lend(root / directory / name, native=False)


def _lend_python(root: Path) -> None:
    for minor in (11, 12, 13):
        name = f"python3.{minor}"
        if not Path("/usr/bin", name).exists():
            continue
        (root / "usr/bin" / name).touch()
        link(root / "usr/local/bin" / name, f"/usr/bin/{name}")
        if os.path.realpath("/usr/bin/python3") == f"/usr/bin/{name}":
            # A virtual environment made on Linux, and shared, names its Python so.
            link(root / "usr/bin/python3", name)


def mount_all(root: Path, shares: list[str]) -> None:
    """Mount what Linux lends: its root below .sim, libraries, devices, Python with its personality, shares.

    :param shares: directories of Linux that stand at the same place in the host
    :raises OSError: a mount failed; it names the place
    """
    linux.bind(str(root), str(root))
    base = str(root)
    linux.bind("/", f"{base}/.sim/linux", read_only=True)
    for path in ("/usr", "/lib", "/etc", "/var"):
        if os.path.ismount(path):
            linux.bind(path, f"{base}/.sim/linux{path}", read_only=True)
    for path in ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share"):
        if os.path.isdir(path):
            linux.bind(path, f"{base}{path}", read_only=True)
    linux.bind(str(PACKAGE.parent), f"{base}/.sim/lib", read_only=True)
    _mount_devices(root)
    for library in Path("/usr/lib").glob("python3.[0-9]*"):
        data = f"lowerdir={PACKAGE / 'python'}:{library}"
        linux.mount("overlay", f"{base}{library}", "overlay", linux.MS_RDONLY, data)
    for program in Path("/usr/bin").glob("python3.[0-9]*"):
        if (root / "usr/bin" / program.name).exists() and program.suffix[1:].isdigit():
            linux.bind(str(program), f"{base}/usr/bin/{program.name}", read_only=True)
    for share in shares:
        (root / share.lstrip("/")).mkdir(parents=True, exist_ok=True)
        linux.bind(share, f"{base}{share}", recursive=True)


def _mount_devices(root: Path) -> None:
    devices = root / "dev"
    linux.mount("tmpfs", str(devices), "tmpfs", linux.MS_NOSUID, "mode=755")
    for name, (major, minor) in DEVICES.items():
        os.mknod(devices / name, 0o020666, os.makedev(major, minor))
        os.chmod(devices / name, 0o666)
    for name in ("pts", "shm", "net", "vmm", "fd"):
        (devices / name).mkdir()
    (devices / "shm").chmod(0o1777)
    linux.mount("devpts", str(devices / "pts"), "devpts", 0, "newinstance,ptmxmode=0666,mode=620")
    (devices / "ptmx").symlink_to("pts/ptmx")
    tun = root / ".sim/net/tun"
    if not tun.exists():
        os.mknod(tun, 0o020666, os.makedev(10, 200))
