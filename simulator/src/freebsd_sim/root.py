"""The simulated host's root directory: what FreeBSD has at its places, and what Linux must lend underneath.

The parts that are plain files are written by ``populate``; what has to be
mounted is mounted by ``mount_all`` each time the host starts, in the mount
namespace of its kernel.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from freebsd_sim import commands, linux
from freebsd_sim.kernel import Release

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

# Programs that FreeBSD gets from packages. Those marked need /proc and so run through .sim/bin/native.
PACKAGE_PROGRAMS = {
    "usr/local/bin": (
        "bash curl git haproxy iperf3 jq mariadb mariadb-admin mariadb-dump mkisofs mysql ovs-appctl!"
        " ovs-ofctl ovs-vsctl ovsdb-client ovsdb-tool"
        " perl python3.11 python3.12 python3.13 qemu-img socat wget xorriso xorrisofs"
    ),
    "usr/local/sbin": ("dnsmasq! haproxy rabbitmq-server rabbitmqctl radvd! ovs-vswitchd! ovsdb-server! tcpdump!"),
    "usr/local/libexec": "mariadbd",
}

# Programs that a library stands in front of, so that Linux's build behaves as FreeBSD's; by name, below .sim/bin.
PRELOADED = {"ovs-vswitchd": "ovs.so"}

# mdo(1) takes another user's identity for whom the kernel's rules allow it.
SET_USER_ID = ("usr/bin/mdo",)
LIBVIRT_VERSION = ".sim/libvirt-version"
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
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
FIRMWARE = {
    "BHYVE_UEFI.fd": ("OVMF/OVMF_CODE.fd", "OVMF/OVMF_CODE_4M.fd"),
    "BHYVE_UEFI_CODE.fd": ("OVMF/OVMF_CODE.fd", "OVMF/OVMF_CODE_4M.fd"),
    "BHYVE_UEFI_VARS.fd": ("OVMF/OVMF_VARS.fd", "OVMF/OVMF_VARS_4M.fd"),
}

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


def populate(root: Path, name: str, release: Release, native: Path, libvirt: Path | None) -> None:
    """Write the plain files of a host's root; what the host has changed since is left alone.

    :param native: directory with the compiled helpers simcall and native
    :param libvirt: install tree of the libvirtd with the bhyve driver, if it was built
    """
    for directory in DIRECTORIES:
        (root / directory).mkdir(parents=True, exist_ok=True)
    for directory in ("tmp", "var/tmp", ".sim/exits"):
        (root / directory).chmod(0o1777)
    (root / "root").chmod(0o700)
    for item in native.iterdir():
        _copy(item, root / ".sim/bin" / item.name)
    (root / ".sim/release").write_text(release.number + "\n")
    linuxisms = root / ".sim/linuxisms"
    linuxisms.touch()
    linuxisms.chmod(0o622)
    _write_etc(root, name)
    _lend_programs(root)
    for path in commands.COMMANDS:
        _link(root / path.lstrip("/"), "/.sim/bin/simcall")
    for path in SET_USER_ID:
        program = root / path
        program.unlink()
        _copy(native / "simcall", program)
        program.chmod(0o4555)
    for path, target in commands.LINKS.items():
        _link(root / path.lstrip("/"), target)
    _place_shared_files(root)
    if libvirt is not None:
        for part in ("usr", "var"):
            _merge(libvirt / part, root / part)
        _copy(libvirt / "version", root / LIBVIRT_VERSION)


def clear_run(root: Path) -> None:
    """Remove what does not outlive a start: pid files and sockets (rc.d/cleanvar), exit statuses of processes."""
    for directory in ("var/run", ".sim/exits"):
        for path in (root / directory).rglob("*"):
            if not path.is_dir() or path.is_symlink():
                path.unlink()
    _link(root / "var/run/log", "/dev/log")


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
            _copy(source, root / "etc" / file)
    _link(root / "etc/ssl", "/.sim/linux/etc/ssl")
    _link(root / "etc/alternatives", "/.sim/linux/etc/alternatives")
    for source in (PACKAGE / "rc").rglob("*"):
        if source.is_file() and source.suffix != ".py":
            target = root / source.relative_to(PACKAGE / "rc")
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(source, target)


def _lend_programs(root: Path) -> None:
    for directory, names in SHARED_PROGRAMS.items():
        for name in names.split():
            _lend(root / directory, name, native=False)
    for directory, names in PACKAGE_PROGRAMS.items():
        for name in names.split():
            plain = name.rstrip("!")
            if plain.startswith("python3."):
                if Path("/usr/bin", plain).exists():
                    (root / "usr/bin" / plain).touch()
                    _link(root / directory / plain, f"/usr/bin/{plain}")
                    if os.path.realpath("/usr/bin/python3") == f"/usr/bin/{plain}":
                        # A virtual environment made on Linux, and shared, names its Python so.
                        _link(root / "usr/bin/python3", plain)
            else:
                _lend(root / directory, plain, native=name.endswith("!"))


def _lend(directory: Path, name: str, *, native: bool) -> None:
    for place in ("/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/lib/rabbitmq/bin"):
        source = f"{place}/{name}"
        if os.path.exists(source):
            break
    else:
        return
    # Linux's own links (as those through /etc/alternatives) lead elsewhere inside the host.
    source = os.path.realpath(source)
    if native:
        script = directory / name
        script.unlink(missing_ok=True)
        first = f"export LD_PRELOAD=/.sim/bin/{PRELOADED[name]}\n" if name in PRELOADED else ""
        script.write_text(f'#!/.sim/linux/bin/sh\n{first}exec /.sim/bin/native /.sim/linux{source} "$@"\n')
        script.chmod(0o755)
    else:
        _link(directory / name, f"/.sim/linux{source}")


def _place_shared_files(root: Path) -> None:
    share = root / "usr/local/share"
    _link(share / "openvswitch", "/usr/share/openvswitch")
    (share / "uefi-firmware").mkdir(exist_ok=True)
    for name, sources in FIRMWARE.items():
        for source in sources:
            if Path("/usr/share", source).exists():
                _link(share / "uefi-firmware" / name, f"/usr/share/{source}")
                break
    _link(root / "var/run/log", "/dev/log")
    _place_rabbitmq(root)
    script = root / "usr/local/bin/mariadb-install-db"
    if os.path.exists("/usr/bin/mariadb-install-db"):
        script.write_text(INSTALL_DB)
        script.chmod(0o755)
    if not (root / "run").is_symlink():
        _link(root / "run", "/var/run")


def _place_rabbitmq(root: Path) -> None:
    library = root / "usr/local/lib"
    for home in Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"):
        _link(library / home.name, str(home))
    programs = library / "erlang27/bin"
    programs.mkdir(parents=True, exist_ok=True)
    if os.path.exists("/usr/lib/erlang/bin/epmd"):
        _link(programs / "epmd", os.path.realpath("/usr/lib/erlang/bin/epmd"))
        (programs / "erl").write_text(ERLANG)
        (programs / "erl").chmod(0o755)


def _link(path: Path, target: str) -> None:
    if path.is_symlink() and os.readlink(path) == target:
        return
    if path.is_symlink() or path.exists():
        path.unlink()
    path.symlink_to(target)


def _copy(source: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, part)
    shutil.copymode(source, part)
    part.rename(target)


def _merge(tree: Path, root: Path) -> None:
    for source in tree.rglob("*"):
        target = root / source.relative_to(tree)
        if source.is_dir() and not source.is_symlink():
            target.mkdir(parents=True, exist_ok=True)
        elif source.is_symlink():
            _link(target, os.readlink(source))
        elif not target.exists() or source.stat().st_mtime > target.stat().st_mtime:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


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
