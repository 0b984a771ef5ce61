"""The guest image builder, without building: formats, plans and the guest's scripts."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from beastack.freebsd.command import CommandError
from beastack.site import guest_image
from beastack.site.guest_image import (
    MAX_IMAGE_SIZE,
    MIB,
    SECTOR,
    Entry,
    GuestImage,
    GuestImageError,
    build_guest_image,
    cpio_archive,
    guest_files,
    image_size,
    library_paths,
    module_needs,
    module_order,
    partition_script,
    recipe_hash,
    required_packages,
    section_end,
)

SCRIPTS = ("boot", "console", "dhcp", "init", "power", "say.sh")


def read_cpio(archive: bytes) -> list[tuple[str, int, tuple[int, int], bytes]]:
    """Read a newc archive back: name, mode, device and data of each entry."""
    entries: list[tuple[str, int, tuple[int, int], bytes]] = []
    offset = 0
    while True:
        assert archive[offset : offset + 6] == b"070701"
        numbers = [int(archive[offset + 6 + 8 * n : offset + 14 + 8 * n], 16) for n in range(13)]
        name_end = offset + 110 + numbers[11]
        name = archive[offset + 110 : name_end - 1].decode()
        data_start = -(-name_end // 4) * 4
        data = archive[data_start : data_start + numbers[6]]
        offset = -(-(data_start + numbers[6]) // 4) * 4
        if name == "TRAILER!!!":
            assert offset == len(archive)
            return entries
        entries.append((name, numbers[1], (numbers[9], numbers[10]), data))


def test_cpio_round_trip() -> None:
    archive = cpio_archive(
        [
            Entry("dev", 0o040755),
            Entry("dev/console", 0o020600, device=(5, 1)),
            Entry("etc/odd", 0o100644, b"12345"),
            Entry("bin/sh", 0o120777, b"busybox"),
        ]
    )
    assert read_cpio(archive) == [
        ("dev", 0o040755, (0, 0), b""),
        ("dev/console", 0o020600, (5, 1), b""),
        ("etc/odd", 0o100644, (0, 0), b"12345"),
        ("bin/sh", 0o120777, (0, 0), b"busybox"),
    ]


def test_cpio_is_read_by_the_real_program() -> None:
    program = shutil.which("cpio") or shutil.which("bsdcpio")
    if program is None:
        pytest.skip("no cpio here")
    archive = cpio_archive([Entry("a", 0o040755), Entry("a/b", 0o100644, b"x")])
    listed = subprocess.run([program, "-it"], input=archive, capture_output=True, check=True)
    assert listed.stdout.split() == [b"a", b"a/b"]


def test_modules_come_after_what_they_need() -> None:
    needs = {"net": ["ring", "failover"], "ring": ["core"], "failover": [], "core": [], "unused": []}
    assert module_order(["net", "core"], needs) == ["core", "ring", "failover", "net"]


def test_unknown_module() -> None:
    with pytest.raises(GuestImageError, match="no module floppy"):
        module_order(["floppy"], {})


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (
            b"\x7fELF\0license=GPL\0depends=virtio_ring,net-failover\0retpoline=Y\0",
            ["virtio_ring", "net_failover"],
        ),
        (b"\x7fELF\0depends=\0name=x\0", []),
        (b"\x7fELF", []),
    ],
)
def test_module_needs(content: bytes, names: list[str]) -> None:
    assert module_needs(content) == names


def test_library_paths() -> None:
    listing = (
        "\tlinux-vdso.so.1 (0x00007f8ce0299000)\n"
        "\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f8ce013d000)\n"
        "\t/lib64/ld-linux-x86-64.so.2 (0x00007f8ce029b000)\n"
    )
    assert library_paths(listing) == [
        Path("/lib/x86_64-linux-gnu/libz.so.1"),
        Path("/lib64/ld-linux-x86-64.so.2"),
    ]


def test_section_end_is_the_next_page_after_the_last_section() -> None:
    listing = (
        "Sections:\n"
        "Idx Name          Size      VMA               LMA               File off  Algn\n"
        "  0 .text         0000dd10  0000000000005000  0000000000005000  00000400  2**4\n"
        "                  CONTENTS, ALLOC, LOAD, READONLY, CODE\n"
        "  1 .sdmagic      00000030  0000000000019000  0000000000019000  00014600  2**2\n"
    )
    assert section_end(listing) == 0x1A000
    with pytest.raises(GuestImageError):
        section_end("file format pei-x86-64\n")


def test_image_size() -> None:
    # One MiB before, one for the FAT's tables, one behind.
    assert image_size(17 * MIB) == 20 * MIB
    assert image_size(17 * MIB + 1) == 21 * MIB
    assert image_size(MAX_IMAGE_SIZE - 3 * MIB) == MAX_IMAGE_SIZE
    with pytest.raises(GuestImageError, match="more than"):
        image_size(MAX_IMAGE_SIZE - 3 * MIB + 1)


def test_partition_lies_inside_the_disk() -> None:
    lines = partition_script(20 * MIB).splitlines()
    assert lines[0] == "label: gpt"
    assert lines[-1].startswith("start=2048, size=36864, type=U,")
    # The last 33 sectors are the second table's.
    last_usable = 20 * MIB // SECTOR - 34
    assert last_usable >= 2048 + 36864 - 1


def test_required_packages_are_sorted_and_unique() -> None:
    packages = required_packages()
    assert list(packages) == sorted(set(packages))
    assert "dropbear-bin" in packages


def test_guest_files() -> None:
    assert [path.name for path in guest_files()] == sorted([*SCRIPTS, "inittab"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_syntax(name: str) -> None:
    path = guest_image.GUEST_FILES / name
    subprocess.run(["/bin/sh", "-n", str(path)], check=True, capture_output=True)
    text = path.read_text()
    if name != "say.sh":
        assert text.startswith("#!/bin/sh\n")
    # The version of Debian 12 crashes with it.
    assert "wget -T" not in text.replace("(wget -T of busybox", "")


def test_inittab_names_files_of_the_guest() -> None:
    for line in (guest_image.GUEST_FILES / "inittab").read_text().splitlines():
        if line.startswith("#"):
            continue
        program = line.split(":", 3)[3].split()[0]
        if program.startswith("/etc/guest/"):
            assert (guest_image.GUEST_FILES / Path(program).name).exists()


def test_guest_file_places() -> None:
    entries = {entry.name: entry for entry in guest_image._guest_entries()}
    assert stat.S_IMODE(entries["init"].mode) == 0o755
    assert {"init", "etc/inittab", "etc/guest/boot", "etc/guest/dhcp", "etc/guest/say.sh"} <= set(entries)


def test_command_line_ends_with_the_serial_console() -> None:
    consoles = [word for word in guest_image.KERNEL_COMMAND_LINE.split() if word.startswith("console=")]
    assert consoles == ["console=tty0", "console=ttyS0,115200"]


def write_existing(target: Path, recipe: str, content: bytes = b"disk") -> None:
    target.write_bytes(content)
    record = {"recipe": recipe, "size": 4, "sha256": guest_image._file_hash(target), "path": target.name}
    target.with_name(f"{target.name}.json").write_text(json.dumps(record))


def fail_to_build(*arguments: object) -> None:
    raise CommandError(["apt-get", "download"], 100, "", "E: Unable to fetch some archives\n")


def test_existing_image_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_image, "_build", fail_to_build)
    target = tmp_path / "guest.raw"
    write_existing(target, recipe_hash())
    image = build_guest_image(target, tmp_path / "work")
    assert image == GuestImage(target, 4, guest_image._file_hash(target))


@pytest.mark.parametrize("damage", ["recipe", "content", "size", "sidecar"])
def test_damaged_or_old_image_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    target = tmp_path / "guest.raw"
    write_existing(target, "old" if damage == "recipe" else recipe_hash())
    if damage == "content":
        target.write_bytes(b"disc")
    elif damage == "size":
        target.write_bytes(b"dis")
    elif damage == "sidecar":
        target.with_name("guest.raw.json").write_text("[")
    monkeypatch.setattr(guest_image, "_build", lambda image, directory, kernel, progress: image.write_bytes(b"new"))
    image = build_guest_image(target, tmp_path / "work")
    assert target.read_bytes() == b"new"
    assert image.size == len(b"new")
    # The new record is right: now nothing is built.
    monkeypatch.setattr(guest_image, "_build", fail_to_build)
    assert build_guest_image(target, tmp_path / "work") == image


def test_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_built(image: Path, directory: Path, kernel: object, progress: object) -> None:
        image.write_bytes(b"half")
        (directory / "initramfs").write_bytes(b"half")
        fail_to_build()

    monkeypatch.setattr(guest_image, "_build", half_built)
    images = tmp_path / "images"
    work = tmp_path / "work"
    with pytest.raises(GuestImageError) as caught:
        build_guest_image(images / "guest.raw", work)
    assert "Unable to fetch" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(images.iterdir()) == []
    assert list(work.iterdir()) == []


def test_missing_program_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_image, "find_program", lambda name: None if name == "mformat" else f"/bin/{name}")
    with pytest.raises(GuestImageError, match="install the package mtools"):
        build_guest_image(tmp_path / "guest.raw", tmp_path / "work")
