"""What is mounted where."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beastack.freebsd import mounts
from beastack.freebsd.command import CommandError
from beastack.freebsd.mounts import Mount
from recorded_commands import Commands, golden, play


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    yield from play(monkeypatch)


def test_the_mounts_of_a_14_host(commands: Commands) -> None:
    commands.expect("mount -p", golden("mounts/mount-14.4.txt"))
    assert mounts.read_mounts() == (
        Mount("zroot/ROOT/default", "/", "zfs", ("rw", "noatime", "nfsv4acls")),
        Mount("devfs", "/dev", "devfs", ("rw",)),
        Mount("/dev/gpt/efiboot0", "/boot/efi", "msdosfs", ("rw",)),
        Mount("zroot/var/log", "/var/log", "zfs", ("rw", "noatime", "noexec", "nosuid", "nfsv4acls")),
        Mount("/var/db/beastack/images", "/jails/images", "nullfs", ("ro",)),
    )


def test_long_names_and_blanks_in_names(commands: Commands) -> None:
    commands.expect("mount -p", golden("mounts/mount-15.1.txt"))
    found = mounts.read_mounts()
    assert found[3] == Mount(
        "tank/beastack/instances/0123456789abcdef",
        "/var/db/beastack/instances/0123456789abcdef",
        "zfs",
        ("rw", "nfsv4acls"),
    )
    assert found[4] == Mount("/dev/md0", "/mnt/my disk", "cd9660", ("ro",))
    assert [mount.target for mount in found] == ["/", "/dev", "/dev/fd", found[3].target, "/mnt/my disk", "/tmp"]


def test_the_mount_a_path_lies_on() -> None:
    found = mounts.parse_mounts(golden("mounts/mount-14.4.txt"))
    for path, target in {"/": "/", "/var/log/x": "/var/log", "/var/logs": "/", "/dev": "/dev"}.items():
        mount = mounts.find_mount(path, found)
        assert mount is not None and mount.target == target
    later = Mount("tmpfs", "/dev", "tmpfs", ("rw",))
    assert mounts.find_mount("/dev/x", [*found, later]) == later
    assert mounts.find_mount("/x", []) is None


def test_a_failure_passes(commands: Commands) -> None:
    commands.expect("mount -p", "", "mount: getmntinfo: Cannot allocate memory\n", status=1)
    with pytest.raises(CommandError):
        mounts.read_mounts()


@pytest.mark.parametrize("line", ["/dev/ada0 on / (ufs, local)", "/dev/ada0 ufs rw 1 1"])
def test_a_line_of_another_form_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="unknown form"):
        mounts.parse_mounts(line + "\n")
