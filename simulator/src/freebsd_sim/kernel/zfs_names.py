"""ZFS's rules for names, sizes and properties (zfs(8), zfsprops(7), zfsconcepts(7))."""

from __future__ import annotations

import re

LONGEST_NAME = 255
NAME_LETTERS = re.compile(r"[A-Za-z0-9\-_.: ]")
UNITS = "BKMGTPE"

# property: (kinds that have it: f filesystem, v volume, s snapshot; default; read only?, inherited?)
PROPERTIES: dict[str, tuple[str, str, bool, bool]] = {
    "type": ("fvs", "", True, False),
    "creation": ("fvs", "", True, False),
    "used": ("fvs", "", True, False),
    "available": ("fv", "", True, False),
    "referenced": ("fvs", "", True, False),
    "compressratio": ("fvs", "1.00x", True, False),
    "mounted": ("f", "", True, False),
    "origin": ("fv", "", True, False),
    "quota": ("f", "none", False, False),
    "reservation": ("fv", "none", False, False),
    "volsize": ("vs", "", False, False),
    "volblocksize": ("v", "16384", True, False),
    "recordsize": ("f", "131072", False, True),
    "mountpoint": ("f", "", False, True),
    "sharenfs": ("f", "off", False, True),
    "checksum": ("fv", "on", False, True),
    "compression": ("fv", "on", False, True),
    "atime": ("f", "on", False, True),
    "devices": ("fs", "on", False, True),
    "exec": ("fs", "on", False, True),
    "setuid": ("fs", "on", False, True),
    "readonly": ("fv", "off", False, True),
    "jailed": ("f", "off", False, True),
    "snapdir": ("f", "hidden", False, True),
    "aclmode": ("f", "discard", False, True),
    "aclinherit": ("f", "restricted", False, True),
    "createtxg": ("fvs", "", True, False),
    "canmount": ("f", "on", False, False),
    "xattr": ("fs", "sa", False, True),
    "copies": ("fv", "1", False, True),
    "version": ("fs", "5", True, False),
    "utf8only": ("fs", "off", True, False),
    "normalization": ("fs", "none", True, False),
    "casesensitivity": ("fs", "sensitive", True, False),
    "vscan": ("f", "off", False, True),
    "nbmand": ("fs", "off", False, True),
    "sharesmb": ("f", "off", False, True),
    "refquota": ("f", "none", False, False),
    "refreservation": ("fv", "none", False, False),
    "guid": ("fvs", "", True, False),
    "primarycache": ("fvs", "all", False, True),
    "secondarycache": ("fvs", "all", False, True),
    "usedbysnapshots": ("fv", "", True, False),
    "usedbydataset": ("fv", "", True, False),
    "usedbychildren": ("fv", "", True, False),
    "usedbyrefreservation": ("fv", "", True, False),
    "logbias": ("fv", "latency", False, True),
    "objsetid": ("fvs", "", True, False),
    "dedup": ("fv", "off", False, True),
    "mlslabel": ("fvs", "none", False, True),
    "sync": ("fv", "standard", False, True),
    "dnodesize": ("f", "legacy", False, True),
    "refcompressratio": ("fvs", "1.00x", True, False),
    "written": ("fvs", "", True, False),
    "logicalused": ("fv", "", True, False),
    "logicalreferenced": ("fvs", "", True, False),
    "volmode": ("fv", "default", False, True),
    "filesystem_limit": ("f", "none", False, False),
    "snapshot_limit": ("fv", "none", False, False),
    "snapdev": ("fv", "hidden", False, True),
    "redundant_metadata": ("fv", "all", False, True),
    "overlay": ("f", "on", False, True),
    "encryption": ("fvs", "off", True, False),
    "special_small_blocks": ("f", "0", False, True),
    "prefetch": ("fvs", "all", False, True),
    "userrefs": ("s", "0", True, False),
    "defer_destroy": ("s", "off", True, False),
    "clones": ("s", "", True, False),
}
SHORT = {
    "avail": "available", "refer": "referenced", "volblock": "volblocksize", "recsize": "recordsize",
    "compress": "compression", "rdonly": "readonly", "mountpt": "mountpoint", "refreserv": "refreservation",
    "reserv": "reservation", "ratio": "compressratio", "lused": "logicalused", "lrefer": "logicalreferenced",
    "usedds": "usedbydataset", "usedsnap": "usedbysnapshots", "usedchild": "usedbychildren",
    "usedrefreserv": "usedbyrefreservation", "refratio": "refcompressratio",
}  # fmt: skip
SIZES = frozenset(
    [
        "used",
        "available",
        "referenced",
        "quota",
        "reservation",
        "volsize",
        "volblocksize",
        "recordsize",
        "refquota",
        "refreservation",
        "usedbysnapshots",
        "usedbydataset",
        "usedbychildren",
        "usedbyrefreservation",
        "written",
        "logicalused",
        "logicalreferenced",
    ]
)
CHOICES = {
    "volmode": ("default", "full", "geom", "dev", "none"),
    "canmount": ("on", "off", "noauto"),
    "readonly": ("on", "off"),
    "atime": ("on", "off"),
    "exec": ("on", "off"),
    "setuid": ("on", "off"),
    "jailed": ("on", "off"),
    "sync": ("standard", "always", "disabled"),
    "primarycache": ("all", "none", "metadata"),
    "secondarycache": ("all", "none", "metadata"),
    "logbias": ("latency", "throughput"),
    "snapdir": ("hidden", "visible", "disabled"),
    "snapdev": ("hidden", "visible"),
}


def check_name(name: str, *, snapshot: bool = False) -> str | None:
    """Return what is wrong with a dataset's name as libzfs says it, or None."""
    if len(name) > LONGEST_NAME:
        return "name is too long"
    if name.startswith("/"):
        return "leading slash in name"
    if name.endswith("/"):
        return "trailing slash in name"
    if "//" in name:
        return "empty component or misplaced '@' or '#' delimiter in name"
    if name.count("@") > 1:
        return "multiple '@' and/or '#' delimiters in name"
    if "@" in name and not snapshot:
        return "snapshot delimiter '@' is not expected here"
    if snapshot and ("@" not in name or name.endswith("@") or name.startswith("@") or "/" in name.partition("@")[2]):
        return "missing '@' delimiter in snapshot name, did you mean to use -r?"
    for letter in name:
        if letter not in "/@" and not NAME_LETTERS.fullmatch(letter):
            return f"invalid character '{letter}' in name"
    if not name[:1].isalpha():
        return "name must begin with a letter"
    return None


def parse_size(text: str) -> int:
    """Return a size in bytes. :raises ValueError: not a number with an optional unit."""
    if text == "none":
        return 0
    found = re.fullmatch(r"(\d+)(?:\.(\d+))?\s*([BKMGTPEbkmgtpe]?)(?:[iI]?[bB])?", text)
    if found is None:
        raise ValueError(f"bad numeric value '{text}'")
    scale: int = 1024 ** UNITS.index(found[3].upper() or "B")
    return int(found[1]) * scale + (int(found[2]) * scale // 10 ** len(found[2]) if found[2] else 0)


def format_size(size: int) -> str:
    """Return a size in at most five characters, as zfs_nicenum does: 96K, 1.50G, 16.5G."""
    index = 0
    whole = size
    while whole >= 1024 and index < len(UNITS) - 1:
        whole //= 1024
        index += 1
    unit = UNITS[index]
    if index == 0:
        return f"{size}B"
    if size % 1024**index == 0:
        return f"{whole}{unit}"
    for digits in (2, 1, 0):
        text = f"{size / 1024**index:.{digits}f}{unit}"
        if len(text) <= 5:
            return text
    return text
