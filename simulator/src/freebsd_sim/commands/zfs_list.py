"""zfs list and zfs get: which datasets, which properties, in which form."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.zfs import Dataset, Zfs, ZfsError, describe
from freebsd_sim.kernel.zfs_names import PROPERTIES, SHORT, SIZES, format_size

HEADINGS = {"available": "AVAIL", "referenced": "REFER", "creation": "CREATION", "compression": "COMPRESS",
            "readonly": "RDONLY", "recordsize": "RECSIZE", "volblocksize": "VOLBLOCK", "refreservation": "REFRESERV",
            "reservation": "RESERV", "compressratio": "RATIO", "logicalused": "LUSED", "logicalreferenced": "LREFER",
            "usedbydataset": "USEDDS", "usedbysnapshots": "USEDSNAP", "usedbychildren": "USEDCHILD",
            "usedbyrefreservation": "USEDREFRESERV"}  # fmt: skip
LEFT = frozenset(("name", "type", "mountpoint", "origin", "clones", "mounted", "creation"))
TYPES = {
    "filesystem": ("filesystem",), "fs": ("filesystem",), "volume": ("volume",), "vol": ("volume",),
    "snapshot": ("snapshot",), "snap": ("snapshot",), "all": ("filesystem", "volume", "snapshot"), "bookmark": (),
}  # fmt: skip
LIST_USAGE = (
    "usage:\n\tlist [-Hp] [-r|-d max] [-o property[,...]] [-s property]...\n"
    "\t    [-S property]... [-t type[,...]] [filesystem|volume|snapshot] ...\n"
)
GET_USAGE = (
    'usage:\n\tget [-rHp] [-d max] [-o "all" | field[,...]]\n'
    "\t    [-t type[,...]] [-s source[,...]]\n"
    '\t    <"all" | property[,...]> [filesystem|volume|snapshot|bookmark] ...\n'
)


def property_name(text: str) -> str:
    """Return a property's full name. :raises CommandExit: there is none."""
    name = SHORT.get(text, text)
    if name not in PROPERTIES and name != "name" and ":" not in name:
        raise CommandExit(2, f"bad property list: invalid property '{text}'\n{LIST_USAGE}")
    return name


def show_value(zfs: Zfs, dataset: Dataset, name: str, *, exact: bool) -> tuple[str, str]:
    """Return a property as printed, and its source."""
    if name == "name":
        return dataset.name, "-"
    if ":" in name:
        if name in dataset.properties:
            return dataset.properties[name], "local"
        above = zfs.datasets.get(dataset.parent)
        while above is not None:
            if name in above.properties:
                return above.properties[name], f"inherited from {above.name}"
            above = zfs.datasets.get(above.parent)
        return "-", "-"
    computed = describe(zfs, dataset)
    if name in computed:
        value = computed[name]
        if name == "creation":
            return (str(value) if exact else time.strftime("%a %b %e %H:%M %Y", time.localtime(value))), "-"
        if name in SIZES:
            return (str(value) if exact else format_size(value)), "-"
        return str(value), "-"
    if name == "compressratio" or name == "refcompressratio":
        return ("1.00" if exact else "1.00x"), "-"
    value, source = zfs.property_of(dataset, name)
    if name in ("origin", "clones") and not value:
        return "-" if name == "origin" else "", "-"
    if name in SIZES and value == "none" and exact:
        return "0", source
    if name in SIZES and value.isdigit() and not exact:
        return format_size(int(value)), source
    return value or "-", source


def choose(call: Call, names: list[str], types: Iterable[str], depth: int | None) -> tuple[list[Dataset], int]:
    """Return the datasets that a listing is about, and 1 when some name was wrong."""
    zfs = call.kernel.zfs
    wanted = set(types)
    found: list[Dataset] = []
    status = 0

    def add(dataset: Dataset, left: int | None) -> None:
        if dataset.kind in wanted:
            found.append(dataset)
        if left == 0 or dataset.kind == "snapshot":
            return
        rest = None if left is None else left - 1
        if "snapshot" in wanted:
            found.extend(zfs.snapshots(dataset.name))
        for child in zfs.children(dataset.name):
            add(child, rest)

    if not names:
        for root in zfs.roots():
            add(root, depth)
    for name in names:
        try:
            add(zfs.get(name), depth)
        except ZfsError as error:
            call.err(f"{error}\n")
            status = 1
    return found, status


def _parse_types(text: str) -> list[str]:
    found: list[str] = []
    for word in text.split(","):
        if word not in TYPES:
            raise CommandExit(2, f"invalid type '{word}'\n{LIST_USAGE}")
        found += TYPES[word]
    return found


def run_list(call: Call) -> int:
    """zfs list."""
    options, names = parse_options(call, "HpPrd:o:s:S:t:j", LIST_USAGE, 2)
    values = dict(options)
    if "j" in values:
        raise NotSimulated("zfs list -j")
    columns = [property_name(word) for word in values.get("o", "name,used,available,referenced,mountpoint").split(",")]
    types = _parse_types(values["t"]) if "t" in values else ["filesystem", "volume"]
    if "t" not in values and any("@" in name for name in names):
        types.append("snapshot")
    depth: int | None = 0 if names else None
    if "d" in values:
        depth = int(values["d"])
    elif "r" in values or ("t" in values and names and "snapshot" in types and "r" in values):
        depth = None
    elif names and types == ["snapshot"] and not any("@" in name for name in names):
        depth = 1  # a dataset's own snapshots
    exact = "p" in values
    with call.kernel.lock:
        datasets, status = choose(call, names, types, depth)
        for letter, name in reversed(options):
            if letter in "sS":
                key = property_name(name)
                datasets.sort(key=partial(_sort_key, call.kernel.zfs, key), reverse=letter == "S")
        rows = [[show_value(call.kernel.zfs, item, name, exact=exact)[0] for name in columns] for item in datasets]
    if not rows:
        if not names and "H" not in values and status == 0:
            call.err("no datasets available\n")
        return status
    if "H" in values:
        call.out("".join("\t".join(row) + "\n" for row in rows))
        return status
    rows.insert(0, [HEADINGS.get(name, name.upper()) for name in columns])
    call.out(_align(rows, [name in LEFT or ":" in name for name in columns]))
    return status


def _sort_key(zfs: Zfs, name: str, dataset: Dataset) -> tuple[int, str]:
    text = show_value(zfs, dataset, name, exact=True)[0]
    return (int(text), "") if text.isdigit() else (0, text)


def _align(rows: list[list[str]], left: list[bool]) -> str:
    widths = [max(len(cell) for cell in cells) for cells in zip(*rows, strict=True)]
    text = ""
    for row in rows:
        cells = []
        for index, cell in enumerate(row):
            if not left[index]:
                cells.append(cell.rjust(widths[index]))
            else:
                cells.append(cell if index == len(row) - 1 else cell.ljust(widths[index]))
        text += "  ".join(cells) + "\n"
    return text


def run_get(call: Call) -> int:
    """zfs get."""
    options, words = parse_options(call, "rHpd:o:t:s:j", GET_USAGE, 2)
    values = dict(options)
    if "j" in values:
        raise NotSimulated("zfs get -j")
    if not words:
        raise CommandExit(2, f"missing property argument\n{GET_USAGE}")
    exact = "p" in values
    fields = values.get("o", "name,property,value,source").split(",")
    if fields == ["all"]:
        fields = ["name", "property", "value", "received", "source"]
    types = _parse_types(values["t"]) if "t" in values else ["filesystem", "volume", "snapshot"]
    depth = int(values["d"]) if "d" in values else None if "r" in values or len(words) == 1 else 0
    sources = values["s"].split(",") if "s" in values else None
    zfs = call.kernel.zfs
    with call.kernel.lock:
        datasets, status = choose(call, words[1:], types, depth)
        rows = []
        for dataset in datasets:
            for name in _wanted_properties(dataset, words[0]):
                value, source = show_value(zfs, dataset, name, exact=exact)
                plain = {"-": "none"}.get(source, source.partition(" ")[0])
                if sources is not None and plain not in sources:
                    continue
                facts = {"name": dataset.name, "property": name, "value": value, "source": source, "received": "-"}
                try:
                    rows.append([facts[field] for field in fields])
                except KeyError as error:
                    raise CommandExit(2, f"invalid column name '{error.args[0]}'\n{GET_USAGE}") from None
    if "H" in values:
        call.out("".join("\t".join(row) + "\n" for row in rows))
    elif rows:
        rows.insert(0, [field.upper() for field in fields])
        widths = [max(len(cell) for cell in cells) for cells in zip(*rows, strict=True)]
        for row in rows:
            padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
            call.out("  ".join([*padded, row[-1]]) + "\n")
    return status


def _wanted_properties(dataset: Dataset, text: str) -> list[str]:
    if text == "all":
        own = [name for name in dataset.properties if ":" in name]
        return [name for name, row in PROPERTIES.items() if dataset.letter in row[0]] + own
    names = []
    for word in text.split(","):
        name = SHORT.get(word, word)
        if name not in PROPERTIES and name != "name" and ":" not in name:
            raise CommandExit(2, f"bad property list: invalid property '{word}'\n{GET_USAGE}")
        names.append(name)
    return names
