"""umount(8): only what it says of what is not mounted, and ZFS file systems."""

from __future__ import annotations

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.commands.mount import read_mounts

USAGE = (
    "usage: umount [-dfNnv] special ... | node ... | fsid ...\n"
    "       umount -a | -A [-F fstab] [-fnv] [-h host] [-t type]"
)  # fmt: skip


def main(call: Call) -> int:
    """Run the command."""
    options, words = parse_options(call, "AaF:fh:Nnt:vd", USAGE)
    if not words or {"A", "a"} & {letter for letter, _ in options}:
        raise CommandExit(1, USAGE) if not words else NotSimulated("umount: -a and -A")
    status = 0
    zfs = call.kernel.zfs
    with call.kernel.lock:
        for word in words:
            mount = next((item for item in read_mounts(call) if word in (item.source, item.point)), None)
            if mount is None:
                call.err(f"umount: {word}: not a file system root directory\n" if call.path(word).exists()
                         else f"umount: {word}: statfs: No such file or directory\n"
                         f"umount: {word}: unknown file system\n")  # fmt: skip
                status = 1
            elif not call.is_root:
                call.err(f"umount: unmount of {mount.point} failed: Operation not permitted\n")
                status = 1
            elif mount.kind != "zfs" or zfs.datasets[mount.source].preset:
                call.err(f"umount: unmount of {mount.point} failed: Device busy\n")
                status = 1
            else:
                zfs.set_mounted(zfs.datasets[mount.source], False)
    return status
