"""newfs_msdos(8): a FAT file system, written by Linux's mkfs.vfat in FreeBSD's geometry.

The lines about the geometry, which FreeBSD prints, are left out. Source: sbin/newfs_msdos.
"""

from __future__ import annotations

import re
import stat

from freebsd_sim.call import Call, CommandExit, Exec, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options

PROGRAM = "/.sim/linux/usr/sbin/mkfs.vfat"
LETTERS = "@:NAB:C:F:I:L:O:S:T:a:b:c:e:f:h:i:k:m:n:o:r:s:u:"
USAGE = "usage: newfs_msdos [ -options ] special [disktype]"
#: Sectors up to which a cluster has so many sectors.
CLUSTERS = ((6000, 1), (1 << 17, 8), (1 << 19, 16), (1 << 21, 32))
LARGEST_CLUSTER = 64
#: The fewest and the most clusters of FAT16, and sectors of its boot record and root directory.
FEWEST_16, MOST_16 = 4085, 65524
OTHER_16 = 1 + 32
BAD_IN_LABELS = re.compile(r'[\x00-\x1f"*+,./:;<=>?\[\\\]|]|^ ')


def choose_type(sectors: int, cluster: int) -> str:
    """Return the type of FAT that a file system of so many sectors gets (mkfs_msdos)."""

    def least(clusters: int) -> int:
        tables = 2 * -(-(clusters + 2) * 2 // 512)
        return OTHER_16 + tables + clusters * cluster

    if sectors < least(FEWEST_16):
        return "12"
    return "16" if sectors < least(MOST_16 + 1) else "32"


def main(call: Call) -> Exec:
    """Run the command: -F, -I and -L are known."""
    options, operands = parse_options(call, LETTERS, USAGE)
    values = dict(options)
    unknown = sorted(set(values) - set("FIL"))
    if unknown or len(operands) > 1:
        raise NotSimulated(f"newfs_msdos: {'-' + unknown[0] if unknown else operands[1]}")
    if not operands:
        raise CommandExit(1, USAGE)
    if values.get("F", "12") not in ("12", "16", "32"):
        raise CommandExit(1, f"newfs_msdos: {values['F']}: bad FAT type")
    words = []
    if "I" in values:
        words += ["-i", f"{int(values['I'], 0):08x}"]
    if "L" in values:
        label = values["L"]
        if not label or len(label) > 11 or BAD_IN_LABELS.search(label):
            raise CommandExit(1, f"newfs_msdos: {label}: bad volume label")
        words += ["-n", label.upper()]
    special = operands[0] if "/" in operands[0] else f"/dev/{operands[0]}"
    try:
        details = call.path(special).stat()
    except FileNotFoundError:
        raise CommandExit(1, f"newfs_msdos: {special}: No such file or directory") from None
    # A volume's node is a file here, and a character device there.
    if stat.S_ISREG(details.st_mode) and not special.startswith("/dev/"):
        call.err(f"newfs_msdos: warning, {special} is not a character device\n")
    sectors = details.st_size // 512
    cluster = next((count for most, count in CLUSTERS if sectors <= most), LARGEST_CLUSTER)
    kind = values.get("F", choose_type(sectors, cluster))
    return Exec(["mkfs.vfat", "-F", kind, "-s", str(cluster), *words, special], program=PROGRAM)
