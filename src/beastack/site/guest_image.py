"""Build the project's own small guest image: a disk that boots into RAM.

The image is a raw disk with a GPT and one EFI system partition. Its only file
is ``\\EFI\\BOOT\\BOOTX64.EFI``, which UEFI firmware starts without any boot entry
(UEFI specification 2.10, section 3.5.1.1). That file is a unified kernel image:
the systemd stub with the kernel, its command line and an initramfs as PE
sections (systemd-stub(7)). The guest never mounts a root file system.

The kernel is Debian's cloud kernel. It has virtio drivers but no AHCI, so a
config drive is seen on a virtio disk or a virtio-scsi CD-ROM only; an image
with the larger generic kernel knows AHCI and e1000, too. Kernel, BusyBox and
stub come from packages that are unpacked and not installed, because
busybox-static would replace the host's busybox. Dropbear must be installed: its shared libraries
come from several packages, and ldd(1) only finds those on the host.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from beastack.freebsd.command import CommandError, find_program, run

RECIPE_VERSION = 1
UNPACKED_PACKAGES = ("busybox-static", "systemd-boot-efi")
#: Programs used from the host, each with the package that has it.
HOST_PROGRAMS = {
    "objcopy": "binutils",
    "dropbear": "dropbear-bin",
    "dropbearkey": "dropbear-bin",
    "sfdisk": "fdisk",
    "mformat": "mtools",
}
DROPBEAR_PROGRAMS = ("dropbear", "dropbearkey")
GUEST_FILES = Path(__file__).parent / "guest"

#: The last console is /dev/console. The options of the second line save 0.1 to
#: 0.2 s each under emulation. Others (mitigations=off, tsc=reliable, noefi,
#: audit=0, fewer serial ports, no mouse) made no difference that showed.
#: An emulated timer that comes late on a busy machine is no broken one: with the
#: check the kernel panics ("IO-APIC + timer doesn't work").
KERNEL_COMMAND_LINE = (
    "console=tty0 console=ttyS0,115200 quiet loglevel=3 no_timer_check "
    "nokaslr cryptomgr.notests=1"
)  # fmt: skip

#: Modules for an ISO 9660 config drive.
DRIVE_MODULES = ("isofs",)

MIB = 1024 * 1024
SECTOR = 512
#: Room before the partition, and after it for the second GPT (33 sectors).
PARTITION_START = 1 * MIB
DISK_TAIL = 1 * MIB
MAX_IMAGE_SIZE = 64 * MIB
#: Fixed, so that the same packages give the same disk.
DISK_ID = "B5E5A5B2-3E5C-4B0B-9A59-6B6F0A6C1D01"
PARTITION_ID = "B5E5A5B2-3E5C-4B0B-9A59-6B6F0A6C1D02"
FAT_SERIAL = "BEA57ACC"
TIMESTAMP = 1_767_225_600
REPRODUCIBLE = {"SOURCE_DATE_EPOCH": str(TIMESTAMP), "TZ": "UTC"}

DIRECTORIES = (
    "bin", "dev", "etc", "etc/acpi", "etc/acpi/PWRF", "etc/dropbear", "etc/guest", "home", "home/beastack",
    "home/beastack/.ssh", "lib", "lib/modules", "proc", "run", "srv", "srv/www", "sys", "usr",
)  # fmt: skip
USER_ID = 1000
PASSWD = f"root:*:0:0:root:/root:/bin/sh\nbeastack:*:{USER_ID}:{USER_ID}::/home/beastack:/bin/sh\n"
GROUP = f"root:*:0:\ntty:*:5:\nbeastack:*:{USER_ID}:\n"


class GuestImageError(Exception):
    """The guest image could not be built; the text says why, in one line."""


@dataclass(frozen=True)
class Kernel:
    """A kernel: the metapackage that depends on its newest release, and the modules that are always loaded."""

    package: str
    modules: tuple[str, ...]


CLOUD = Kernel(
    "linux-image-cloud-amd64",
    ("virtio_pci", "virtio_net", "virtio_blk", "virtio_rng", "virtio_scsi", "sr_mod", "button", "evdev"),
)
GENERIC = Kernel("linux-image-amd64", (*CLOUD.modules, "ahci", "sd_mod", "e1000"))


@dataclass(frozen=True)
class GuestImage:
    """A finished guest image: where it is, its size in bytes and its hash."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """One entry of the initramfs.

    ``mode`` holds the file type and permissions as in stat(2). ``data`` is the
    content of a file or the target of a symbolic link. ``device`` is the major
    and minor number of a device node.
    """

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def required_packages() -> tuple[str, ...]:
    """Return the Debian packages the host needs to build the image."""
    return tuple(sorted(set(HOST_PROGRAMS.values())))


def build_guest_image(
    target: Path, work: Path, *, kernel: Kernel = CLOUD, progress: Callable[[str], None] = lambda text: None
) -> GuestImage:
    """Build the guest image at ``target``, or return it when it is there already.

    An existing image is kept when the file beside it (``<target>.json``) names
    the present recipe and the image still has the recorded hash. The recipe is
    the guest's own files and the layout, not the versions of the packages:
    remove the image to build it again with newer ones.

    Only one build may use ``work`` and ``target`` at a time: nothing is locked.

    :param work: where the temporary directory ``guest-image`` is made, and removed at the end
    :param progress: called with one line before each step
    :raises GuestImageError: a package or program is missing, or a step failed
    """
    recipe = recipe_hash(kernel)
    existing = _existing_image(target, recipe)
    if existing is not None:
        return existing
    directory = work / "guest-image"
    partial = target.with_name(f".{target.name}.partial")
    sidecar = _sidecar(target)
    partial_sidecar = sidecar.with_name(f".{sidecar.name}.partial")
    try:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        _build(partial, directory, kernel, progress)
        image = GuestImage(target, partial.stat().st_size, _file_hash(partial))
        record = {"recipe": recipe, **asdict(image), "path": target.name}
        partial_sidecar.write_text(json.dumps(record) + "\n")
        # A crash between the two leaves a hash that does not fit: built again.
        partial.replace(target)
        partial_sidecar.replace(sidecar)
    except (CommandError, OSError) as error:
        raise GuestImageError(f"the guest image was not built: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
        partial_sidecar.unlink(missing_ok=True)
        shutil.rmtree(directory, ignore_errors=True)
    return image


def recipe_hash(kernel: Kernel = CLOUD) -> str:
    """Return a hash of all that this project decides about the image."""
    digest = hashlib.sha256()
    packages = (RECIPE_VERSION, kernel.package, UNPACKED_PACKAGES, KERNEL_COMMAND_LINE)
    content = (kernel.modules, DRIVE_MODULES, DIRECTORIES, PASSWD, GROUP)
    digest.update(repr((packages, content)).encode())
    for path in guest_files():
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def guest_files() -> list[Path]:
    """Return the guest's own scripts and tables."""
    return sorted(path for path in GUEST_FILES.iterdir() if path.is_file())


def cpio_archive(entries: Iterable[Entry]) -> bytes:
    """Return a cpio archive in the "newc" format, owned by root throughout.

    The format is the one of the kernel's buffer-format document
    (Documentation/driver-api/early-userspace/buffer-format.rst).
    """
    parts: list[bytes] = []
    everything = [*entries, Entry("TRAILER!!!", 0)]
    for inode, entry in enumerate(everything, start=1):
        name = entry.name.encode() + b"\0"
        links = 2 if entry.mode & 0o170000 == 0o040000 else 1
        numbers = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
        header = b"070701" + b"".join(b"%08x" % number for number in numbers)
        parts.append(_padded(header + name, 4))
        parts.append(_padded(entry.data, 4))
    return b"".join(parts)


def module_order(wanted: Sequence[str], needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Return ``wanted`` and all they need, each after what it needs itself.

    :param needs: for each module, the modules it depends on
    :raises GuestImageError: a module is not known
    """
    order: list[str] = []

    def add(name: str) -> None:
        if name in order:
            return
        if name not in needs:
            raise GuestImageError(f"the kernel package has no module {name}")
        for needed in needs[name]:
            add(needed)
        order.append(name)

    for name in wanted:
        add(name)
    return order


def module_needs(content: bytes) -> list[str]:
    """Return the names in the ``depends=`` field of a kernel module's .modinfo."""
    found = re.search(rb"\0depends=([^\0]*)\0", b"\0" + content)
    names = found.group(1).decode("ascii").split(",") if found else []
    return [module_name(name) for name in names if name]


def module_name(name: str) -> str:
    """Return a module's name as the kernel spells it, with no dashes."""
    return name.replace("-", "_")


def library_paths(listing: str) -> list[Path]:
    """Return the files of shared libraries and loader in the output of ldd(1)."""
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", listing)]


def section_end(listing: str) -> int:
    """Return the first free page after the sections that objdump(1) lists.

    :raises GuestImageError: the listing has no sections
    """
    end = 0
    for line in listing.splitlines():
        # Number, name, size, address, ...
        found = re.match(r" *\d+ \S+ +([0-9a-f]+) +([0-9a-f]+) ", line)
        if found:
            end = max(end, int(found.group(1), 16) + int(found.group(2), 16))
    if not end:
        raise GuestImageError("objdump lists no sections in the systemd stub")
    return _next_page(end)


def partition_script(image_size: int) -> str:
    """Return sfdisk's input for one EFI system partition on a disk of that size."""
    sectors = (image_size - PARTITION_START - DISK_TAIL) // SECTOR
    return (
        f"label: gpt\nlabel-id: {DISK_ID}\n"
        f"start={PARTITION_START // SECTOR}, size={sectors}, type=U, uuid={PARTITION_ID}, name=EFI\n"
    )


def image_size(kernel_image_size: int) -> int:
    """Return the size of a disk that holds a unified kernel image of that size.

    :raises GuestImageError: the disk would be larger than the project allows
    """
    # 1 MiB is plenty for the FAT's own tables and directories.
    content = -(-kernel_image_size // MIB) * MIB + 1 * MIB
    size = PARTITION_START + content + DISK_TAIL
    if size > MAX_IMAGE_SIZE:
        raise GuestImageError(f"the guest image would take {size} bytes, more than {MAX_IMAGE_SIZE}")
    return size


def _build(image: Path, directory: Path, kernel: Kernel, progress: Callable[[str], None]) -> None:
    """Build the disk image in ``image``, with temporary files in ``directory``."""
    _check_host()
    progress("guest image: fetching packages")
    unpacked = _fetch_packages(directory, kernel.package)

    progress("guest image: collecting the initramfs")
    initramfs = directory / "initramfs"
    archive = cpio_archive(_initramfs_entries(unpacked, kernel.modules))
    # Uncompressed and zstd were no faster to boot under emulation.
    initramfs.write_bytes(gzip.compress(archive, compresslevel=9, mtime=0))

    progress("guest image: writing the disk")
    unified = _unified_kernel(directory, unpacked, initramfs)
    _write_disk(image, unified)


def _check_host() -> None:
    for program, package in HOST_PROGRAMS.items():
        if find_program(program) is None:
            raise GuestImageError(f"the program {program} is not installed: install the package {package}")


def _fetch_packages(directory: Path, kernel: str) -> Path:
    """Download the packages that are not installed and unpack them into one tree."""
    shown = run(["apt-cache", "show", "--no-all-versions", kernel], ok=(0, 100)).stdout
    found = re.search(r"^Depends: (linux-image-[^ ,]+)", shown, re.MULTILINE)
    if found is None:
        raise GuestImageError(f"apt knows no package {kernel}: run apt-get update")
    # apt's own user cannot write to the work directory.
    download = ["apt-get", "-o", "APT::Sandbox::User=root", "download", found.group(1), *UNPACKED_PACKAGES]
    run(download, timeout=600, cwd=directory)
    unpacked = directory / "unpacked"
    for package in sorted(directory.glob("*.deb")):
        run(["dpkg-deb", "-x", str(package), str(unpacked)], timeout=300)
    return unpacked


def _only_file(directory: Path, pattern: str) -> Path:
    found = sorted(directory.glob(pattern))
    if len(found) != 1:
        raise GuestImageError(f"expected one {pattern} in {directory}, found {len(found)}")
    return found[0]


def _initramfs_entries(unpacked: Path, modules: Sequence[str]) -> list[Entry]:
    """Collect the guest's whole file system."""
    entries = [_directory(name) for name in DIRECTORIES]
    entries += [_directory("root", 0o700), _directory("root/.ssh", 0o700), _directory("tmp", 0o1777)]
    entries += [_link(name, "/bin") for name in ("sbin", "usr/bin", "usr/sbin")]
    entries += [_link("lib64", "/lib"), _link("etc/acpi/PWRF/00000080", "/etc/guest/power")]
    # The kernel opens the console before anything can mount devtmpfs.
    entries.append(Entry("dev/console", 0o020600, device=(5, 1)))
    entries += [_file("etc/passwd", PASSWD.encode()), _file("etc/group", GROUP.encode())]
    entries += _guest_entries()
    entries += _busybox_entries(_only_file(unpacked, "**/bin/busybox"))
    entries += _dropbear_entries()
    entries += _module_entries(unpacked, modules)
    return entries


def _guest_entries() -> list[Entry]:
    places = {"init": "init", "inittab": "etc/inittab"}
    return [_file(places.get(path.name, f"etc/guest/{path.name}"), path.read_bytes(), 0o755) for path in guest_files()]


def _busybox_entries(busybox: Path) -> list[Entry]:
    """BusyBox and a link for each of its programs (making them at boot is slow)."""
    names = run([str(busybox), "--list"]).stdout.split()
    links = [_link(f"bin/{name}", "busybox") for name in sorted(names) if name != "busybox"]
    return [_file("bin/busybox", busybox.read_bytes(), 0o755), *links]


def _dropbear_entries() -> list[Entry]:
    """The SSH server with the shared libraries and the loader that ldd(1) names."""
    entries: list[Entry] = []
    libraries: set[Path] = set()
    for name in DROPBEAR_PROGRAMS:
        program = find_program(name)
        if program is None:
            raise GuestImageError(f"the program {name} is not installed")
        entries.append(_file(f"bin/{name}", Path(program).read_bytes(), 0o755))
        libraries.update(library_paths(run(["ldd", program]).stdout))
    for library in sorted(libraries):
        entries.append(_file(f"lib/{library.name}", library.read_bytes(), 0o755))
    return entries


def _module_entries(unpacked: Path, modules: Sequence[str]) -> list[Entry]:
    """The kernel modules, and the lists that say in which order to load them."""
    found = {module_name(path.name.partition(".ko")[0]): path for path in unpacked.glob("**/*.ko*")}
    needs = {name: module_needs(_module(path)) for name, path in found.items()}
    built_in = {
        module_name(Path(line).name.partition(".ko")[0])
        for listing in unpacked.glob("**/modules.builtin")
        for line in listing.read_text().split()
    }
    always = module_order([name for name in modules if name not in built_in], needs)
    wanted = [name for name in DRIVE_MODULES if name not in built_in]
    drive = [name for name in module_order(wanted, needs) if name not in always]
    entries = [_file(f"lib/modules/{name}.ko", _module(found[name])) for name in always + drive]
    entries.append(_file("etc/guest/modules", _lines(always)))
    entries.append(_file("etc/guest/modules-drive", _lines(drive)))
    return entries


def _module(path: Path) -> bytes:
    """Return a module's content; Debian 13 compresses modules, and busybox does not undo that."""
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content


def _unified_kernel(directory: Path, unpacked: Path, initramfs: Path) -> Path:
    """Put kernel, command line and initramfs into the stub as PE sections."""
    kernel = _only_file(unpacked, "boot/vmlinuz-*")
    stub = _only_file(unpacked, "**/linuxx64.efi.stub")
    command_line = directory / "cmdline"
    command_line.write_text(KERNEL_COMMAND_LINE + "\0")
    unified = directory / "BOOTX64.EFI"
    # The PE header has a time stamp: keep the stub's.
    argv = ["objcopy", "--preserve-dates"]
    # Sections must not overlap: each starts on the page after the one before.
    address = section_end(run(["objdump", "--section-headers", str(stub)]).stdout)
    for name, path in ((".cmdline", command_line), (".linux", kernel), (".initrd", initramfs)):
        argv += ["--add-section", f"{name}={path}", "--change-section-vma", f"{name}={address:#x}"]
        address = _next_page(address + path.stat().st_size)
    run([*argv, str(stub), str(unified)])
    return unified


def _write_disk(image: Path, unified: Path) -> None:
    """Write the partition table and the file system with the one boot file."""
    size = image_size(unified.stat().st_size)
    with image.open("wb") as output:
        output.truncate(size)
    run(["sfdisk", "--quiet", str(image)], stdin=partition_script(size))
    # mtools' way to name a file system inside a disk image.
    volume = f"{image}@@{PARTITION_START}"
    sectors = (size - PARTITION_START - DISK_TAIL) // SECTOR
    geometry = ["-T", str(sectors), "-h", "16", "-s", "63", "-H", str(PARTITION_START // SECTOR)]
    os.utime(unified, (TIMESTAMP, TIMESTAMP))
    run(["mformat", "-i", volume, *geometry, "-N", FAT_SERIAL, "-v", "BEASTACK", "::"], env=REPRODUCIBLE)
    run(["mmd", "-i", volume, "::/EFI", "::/EFI/BOOT"], env=REPRODUCIBLE)
    run(["mcopy", "-m", "-i", volume, str(unified), "::/EFI/BOOT/BOOTX64.EFI"], env=REPRODUCIBLE)
    with image.open("rb") as written:
        os.fsync(written.fileno())


def _existing_image(target: Path, recipe: str) -> GuestImage | None:
    """Return the image at ``target`` if its record and its content are right."""
    try:
        record = json.loads(_sidecar(target).read_text())
        if record["recipe"] != recipe or target.stat().st_size != record["size"]:
            return None
        if _file_hash(target) != record["sha256"]:
            return None
        return GuestImage(target, record["size"], record["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sidecar(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _file_hash(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _directory(name: str, permissions: int = 0o755) -> Entry:
    return Entry(name, 0o040000 | permissions)


def _file(name: str, data: bytes, permissions: int = 0o644) -> Entry:
    return Entry(name, 0o100000 | permissions, data)


def _link(name: str, to: str) -> Entry:
    return Entry(name, 0o120777, to.encode())


def _lines(names: Sequence[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def _padded(data: bytes, alignment: int) -> bytes:
    return data + b"\0" * (-len(data) % alignment)


def _next_page(address: int) -> int:
    return -(-address // 4096) * 4096
