"""Build libvirt with its bhyve driver from the distribution's own source package, and keep the result.

Run as a program: ``python3 -m freebsd_sim.libvirt CACHE_DIR`` prints where the
built tree is. The tree is laid out for the prefix /usr/local, as inside a host.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from freebsd_sim.libvirt_changes import CHANGES, apply_changes

NATIVE = Path(__file__).resolve().parents[2] / "native" / "libvirt"
# Later suites than the machine's own carry versions nearer to FreeBSD's port.
LATER_SUITES = ("sid", "trixie")
BUILD_PACKAGES = {
    # package: a file that it brings; installed only when the file is missing
    "meson": "/usr/bin/meson",
    "ninja-build": "/usr/bin/ninja",
    "gcc": "/usr/bin/gcc",
    "pkgconf": "/usr/bin/pkg-config",
    "dpkg-dev": "/usr/bin/dpkg-source",
    "xz-utils": "/usr/bin/xz",
    "gettext": "/usr/bin/xgettext",
    "xsltproc": "/usr/bin/xsltproc",
    "libxml2-utils": "/usr/bin/xmllint",
    "python3-docutils": "/usr/bin/rst2html5",
    "rpcsvc-proto": "/usr/bin/rpcgen",
    "libc6-dev": "/usr/include/stdio.h",
    "linux-libc-dev": "/usr/include/linux/if_tun.h",
    "libglib2.0-dev": "/usr/include/glib-2.0/glib.h",
    "libxml2-dev": "/usr/include/libxml2/libxml/tree.h",
    "libgnutls28-dev": "/usr/include/gnutls/gnutls.h",
    "libtirpc-dev": "/usr/include/tirpc/rpc/rpc.h",
    "libnl-3-dev": "/usr/include/libnl3/netlink/netlink.h",
    "libnl-route-3-dev": "/usr/include/libnl3/netlink/route/route.h",
}
OPTIONS = {
    "auto_features": "disabled",
    "buildtype": "plain",
    "prefix": "/usr/local",
    "libdir": "lib",
    "sysconfdir": "/usr/local/etc",
    "localstatedir": "/var",
    "runstatedir": "/var/run",
    "werror": "false",
    "docs": "disabled",
    "tests": "disabled",
    "nls": "disabled",
    "init_script": "none",
    "driver_bhyve": "enabled",
    "driver_libvirtd": "enabled",
    "driver_remote": "enabled",
    "libnl": "enabled",
}
BUILT_IN_OPTIONS = {
    "auto_features", "buildtype", "prefix", "libdir", "sysconfdir", "localstatedir", "werror", "c_args", "c_link_args",
}  # fmt: skip


# Installed by the build, but not part of what FreeBSD's port installs or a host needs.
UNWANTED = (
    "include", "etc/libvirt/nwfilter", "etc/logrotate.d", "lib/libvirt/connection-driver/libvirt_driver_nwfilter.so",
    "lib/pkgconfig", "lib/sysusers.d", "libexec/libvirt-guests.sh", "sbin/virtbhyved", "sbin/virtnwfilterd",
    "sbin/virtproxyd", "share/augeas", "share/doc", "share/locale",
)  # fmt: skip
VERSION_FILE = "version"


class BuildError(Exception):
    """libvirt could not be had or built; the text says at which step, with the last lines of its output."""


@dataclass(frozen=True)
class Source:
    """One source version that apt lists, e.g. 11.3.0 of package version 11.3.0-3+deb13u3."""

    package_version: str

    @property
    def upstream(self) -> str:
        """The version without the packager's part."""
        return self.package_version.partition(":")[2 if ":" in self.package_version else 0].rpartition("-")[0]

    @property
    def order(self) -> tuple[int, ...]:
        """A key to sort by."""
        return tuple(int(number) for number in re.findall(r"\d+", self.upstream))


def run(argv: Sequence[str | Path], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a program and return its standard output.

    :raises BuildError: it cannot be run, or its status is not 0
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise BuildError(f"{words[0]}: {error.strerror}") from None
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise BuildError(f"{' '.join(words[:4])} ended with {done.returncode}:\n{tail}")
    return done.stdout


def find_mirror(text: str) -> tuple[str, str, str] | None:
    """Return address, own suite and signing options of the first Debian archive in apt's source files, if any.

    ``text`` is the machine's one-line and deb822 entries, one after the other.
    """
    for block in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"(?m)^([A-Za-z-]+):[ \t]*(.+)$", block))
        if "URIs" in fields and "main" in fields.get("Components", "").split() and "debian" in fields["URIs"]:
            signed = f"[signed-by={fields['Signed-By'].strip()}] " if "Signed-By" in fields else ""
            return fields["URIs"].split()[0], fields["Suites"].split()[0], signed
        for line in block.splitlines():
            entry = re.match(r"deb(?:-src)?\s+(\[[^]]*\]\s+)?(\S*debian\S*)\s+(\S+)\s.*\bmain\b", line.strip())
            if entry:
                return entry[2], entry[3], entry[1] or ""
    return None


def read_apt_sources(folder: Path = Path("/etc/apt")) -> str:
    """Return what the machine's apt source files say."""
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    return "\n\n".join(file.read_text() for file in files if file.is_file() and file.suffix in (".list", ".sources"))


class PrivateApt:
    """apt with source entries, lists and cache of its own; the machine's configuration is only read."""

    def __init__(self, folder: Path, mirror: tuple[str, str, str]) -> None:
        address, own_suite, signed = mirror
        (folder / "lists" / "partial").mkdir(parents=True)
        (folder / "cache" / "archives" / "partial").mkdir(parents=True)
        suites = dict.fromkeys((*LATER_SUITES, own_suite))
        entries = "".join(f"deb-src {signed}{address} {suite} main\n" for suite in suites)
        (folder / "sources.list").write_text(entries)
        self.options = [
            "-o", f"Dir::Etc::sourcelist={folder}/sources.list",
            "-o", "Dir::Etc::sourceparts=/dev/null",
            "-o", f"Dir::State::lists={folder}/lists",
            "-o", f"Dir::Cache={folder}/cache",
            "-o", "APT::Sandbox::User=root",
        ]  # fmt: skip

    def list_sources(self) -> list[Source]:
        """Return libvirt's source versions, the newest first."""
        try:
            run(["apt-get", *self.options, "update"])
        except BuildError as error:
            print(f"freebsd-sim: {error}", file=sys.stderr)
        text = run(["apt-cache", *self.options, "showsrc", "libvirt"])
        versions = dict.fromkeys(re.findall(r"(?m)^Version: (\S+)$", text))
        return sorted((Source(version) for version in versions), key=lambda source: source.order, reverse=True)

    def fetch(self, source: Source, folder: Path) -> Path:
        """Download the original archive of a version and return where it is.

        :raises BuildError: it cannot be had
        """
        folder.mkdir(parents=True, exist_ok=True)
        command = ["source", "--tar-only", "--download-only", f"libvirt={source.package_version}"]
        run(["apt-get", *self.options, *command], cwd=folder)
        archives = sorted(folder.glob(f"libvirt_{source.upstream}.orig.tar.*"))
        if not archives:
            raise BuildError(f"apt-get source left no archive of libvirt {source.upstream}")
        return archives[0]


def install_build_packages() -> None:
    """Install what the build needs and the machine lacks."""
    missing = [package for package, file in BUILD_PACKAGES.items() if not Path(file).exists()]
    if missing:
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "install", "-y", "--no-install-recommends", *missing], env=env)


def hash_recipe() -> str:
    """Return a short hash of everything of ours that decides the result."""
    digest = hashlib.sha256(repr((CHANGES, sorted(OPTIONS.items()), UNWANTED, VERSION_FILE)).encode())
    for file in sorted(NATIVE.rglob("*")):
        if file.is_file():
            digest.update(str(file.relative_to(NATIVE)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def choose_options(option_file: str, include: Path) -> list[str]:
    """Return meson's arguments: the wanted options that this version of libvirt knows.

    ``option_file`` is the text of meson_options.txt.
    """
    known = set(re.findall(r"option\(\s*'([a-z0-9_]+)'", option_file)) | BUILT_IN_OPTIONS
    arguments = [f"-D{name}={value}" for name, value in OPTIONS.items() if name in known]
    arguments.append(f"-Dc_args=-O1 -I{include}")
    # Looked up before the distribution's libvirt, also for the libraries of libraries.
    arguments.append("-Dc_link_args=-Wl,--disable-new-dtags,-rpath,/usr/local/lib")
    return arguments


def build_source(archive: Path, work: Path, result: Path) -> None:
    """Unpack, change, build and install one version into ``result`` (which must not exist)."""
    run(["tar", "-xf", archive, "-C", work])
    trees = [path for path in work.glob("libvirt-*") if path.is_dir()]
    if len(trees) != 1:
        raise BuildError(f"{archive.name} does not hold one source tree")
    tree = trees[0]
    apply_changes(tree)
    stubs = work / "stubs"
    stubs.mkdir()
    for name in ("bhyve", "bhyvectl", "bhyveload"):  # looked for while configuring, not run
        (stubs / name).write_text("#!/bin/sh\n")
        (stubs / name).chmod(0o755)
    # The system's Python must run the build's scripts, whichever one runs this.
    env = {**os.environ, "PATH": f"{stubs}:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    options = choose_options((tree / "meson_options.txt").read_text(), NATIVE / "include")
    run(["meson", "setup", tree / "build", tree, *options], env=env)
    run(["nice", "ninja", "-C", tree / "build"], env=env)
    staged = work / "staged"
    run(["meson", "install", "-C", tree / "build", "--no-rebuild"], env={**env, "DESTDIR": str(staged)})
    arrange_tree(staged, tree.name.removeprefix("libvirt-"))
    result.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(result, ignore_errors=True)
    shutil.move(str(staged), result)


def arrange_tree(staged: Path, version: str) -> None:
    """Make an installed tree what a host wants: less of it, and its version noted."""
    local = staged / "usr/local"
    if not (local / "lib/libvirt/connection-driver/libvirt_driver_bhyve.so").exists():
        raise BuildError("the build has no bhyve driver")
    for name in UNWANTED:
        path = local / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (staged / VERSION_FILE).write_text(version + "\n")


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Let one build at a time work below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "libvirt.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find_built(cache_dir: Path) -> Path | None:
    """Return the newest tree that this recipe has built, if any."""
    trees = [path for path in cache_dir.glob(f"libvirt-*-{hash_recipe()}") if (path / VERSION_FILE).exists()]
    return max(trees, key=lambda path: Source(path.name.split("-")[1] + "-0").order, default=None)


def read_version(tree: Path) -> str:
    """Return the version of libvirt in a built tree, e.g. "11.3.0"."""
    return (tree / VERSION_FILE).read_text().strip()


def build_libvirt(cache_dir: Path) -> Path:
    """Return a built libvirt; build it if the cache has none. Needs root and the distribution's archive then.

    The newest version that can be had and built is taken. Its files are under
    ``usr/local`` of the returned folder.

    :raises BuildError: no version could be built
    """
    with lock_folder(cache_dir):
        built = find_built(cache_dir)
        if built is not None:
            return built
        mirror = find_mirror(read_apt_sources())
        if mirror is None:
            raise BuildError("apt has no Debian archive to take libvirt's source from")
        install_build_packages()
        reasons = []
        with tempfile.TemporaryDirectory(prefix="libvirt-build-", dir=cache_dir) as name:
            work = Path(name)
            apt = PrivateApt(work / "apt", mirror)
            for number, source in enumerate(apt.list_sources()):
                folder = work / str(number)
                result = cache_dir / f"libvirt-{source.upstream}-{hash_recipe()}"
                try:
                    build_source(apt.fetch(source, folder), folder, result)
                except Exception as error:
                    reasons.append(f"libvirt {source.upstream}: {error}")
                    continue
                return result
        raise BuildError("libvirt cannot be built\n" + "\n".join(reasons))


def main(arguments: Sequence[str]) -> int:
    """Build into the folder that is named, and print where the result is."""
    if len(arguments) != 1:
        print("usage: python3 -m freebsd_sim.libvirt CACHE_DIR", file=sys.stderr)
        return 64
    try:
        print(build_libvirt(Path(arguments[0]).resolve()))
    except BuildError as error:
        print(f"freebsd-sim: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
