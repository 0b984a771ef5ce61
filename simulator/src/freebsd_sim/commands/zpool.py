"""zpool(8): pools."""

from __future__ import annotations

from dataclasses import replace

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.zfs import Pool, ZfsError
from freebsd_sim.kernel.zfs_names import check_name, format_size

LIST_USAGE = "usage:\n\tlist [-gHLpPv] [-o property[,...]] [-T d|u] [pool] ... \n\t    [interval [count]]\n"
GET_USAGE = 'usage:\n\tget [-Hp] [-o "all" | field[,...]] <"all" | property[,...]> <pool> ...\n'
DEFAULT = "name,size,allocated,free,checkpoint,expandsize,fragmentation,capacity,dedupratio,health,altroot"
HEADINGS = {
    "allocated": "ALLOC", "checkpoint": "CKPOINT", "expandsize": "EXPANDSZ", "fragmentation": "FRAG",
    "capacity": "CAP", "dedupratio": "DEDUP",
}  # fmt: skip
SHORT = {
    "alloc": "allocated",
    "cap": "capacity",
    "frag": "fragmentation",
    "dedup": "dedupratio",
    "ckpoint": "checkpoint",
}


def read_properties(call: Call, pool: Pool, *, exact: bool) -> dict[str, str]:
    """Return a pool's properties as printed."""
    zfs = call.kernel.zfs
    size, allocated, free = zfs.pool_space(pool.name)

    def number(value: int) -> str:
        return str(value) if exact else format_size(value)

    capacity = str(allocated * 100 // size)
    return {
        "name": pool.name,
        "size": number(size),
        "capacity": capacity if exact else f"{capacity}%",
        "altroot": "-",
        "health": "ONLINE",
        "guid": str(pool.guid),
        "version": "-",
        "bootfs": "zroot/ROOT/default" if pool.name == "zroot" else "-",
        "autoexpand": "off",
        "failmode": "wait",
        "listsnapshots": "off",
        "dedupratio": "1.00" if exact else "1.00x",
        "free": number(free),
        "allocated": number(allocated),
        "readonly": "off",
        "ashift": "12",
        "expandsize": "-",
        "fragmentation": "0" if exact else "0%",
        "checkpoint": "-",
        "autotrim": "off",
    }


def _find(call: Call, name: str) -> Pool:
    pool = call.kernel.zfs.pools.get(name)
    if pool is None:
        raise CommandExit(1, f"cannot open '{name}': no such pool")
    return pool


def list_(call: Call) -> int:
    """zpool list."""
    options, names = parse_options(call, "gHLpPvo:T:", LIST_USAGE, 2)
    values = dict(options)
    if "v" in values or "T" in values:
        raise NotSimulated("zpool list -v and -T")
    columns = [SHORT.get(word, word) for word in values.get("o", DEFAULT).split(",")]
    pools = [_find(call, name) for name in names] or [
        call.kernel.zfs.pools[name] for name in sorted(call.kernel.zfs.pools)
    ]
    rows = []
    for pool in pools:
        properties = read_properties(call, pool, exact="p" in values)
        for column in columns:
            if column not in properties:
                raise CommandExit(2, f"bad property list: invalid property '{column}'\n{LIST_USAGE}")
        rows.append([properties[column] for column in columns])
    if "H" in values:
        call.out("".join("\t".join(row) + "\n" for row in rows))
        return 0
    rows.insert(0, [HEADINGS.get(column, column.upper()) for column in columns])
    widths = [max(len(cell) for cell in cells) for cells in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if column in ("name", "altroot") else cell.rjust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        call.out("  ".join(cells).rstrip() + "\n")
    return 0


def get(call: Call) -> int:
    """zpool get."""
    options, words = parse_options(call, "Hpo:", GET_USAGE, 2)
    values = dict(options)
    if not words:
        raise CommandExit(2, f"missing property argument\n{GET_USAGE}")
    fields = values.get("o", "name,property,value,source").split(",")
    names = words[1:] or sorted(call.kernel.zfs.pools)
    rows = []
    for name in names:
        properties = read_properties(call, _find(call, name), exact="p" in values)
        wanted = list(properties)[1:] if words[0] == "all" else [SHORT.get(word, word) for word in words[0].split(",")]
        for key in wanted:
            if key not in properties:
                raise CommandExit(2, f"bad property list: invalid property '{key}'\n{GET_USAGE}")
            source = "default" if key in ("autoexpand", "failmode", "listsnapshots", "autotrim", "version") else "-"
            facts = {"name": name, "property": key, "value": properties[key], "source": source}
            rows.append([facts[field] for field in fields if field in facts])
    if "H" in values:
        call.out("".join("\t".join(row) + "\n" for row in rows))
        return 0
    rows.insert(0, [field.upper() for field in fields])
    widths = [max(len(cell) for cell in cells) for cells in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
        call.out("  ".join([*cells, row[-1]]) + "\n")
    return 0


def status(call: Call) -> int:
    """zpool status."""
    options, names = parse_options(call, "cDegijLpPstvx", "usage:\n\tstatus [-dDegiLPpstvx] [pool] ...\n", 2)
    pools = [_find(call, name) for name in names] or [
        call.kernel.zfs.pools[name] for name in sorted(call.kernel.zfs.pools)
    ]
    if ("x", "") in options:
        call.out("all pools are healthy\n" if not names else "".join(f"pool '{name}' is healthy\n" for name in names))
        return 0
    for pool in pools:
        width = max(len(pool.name), *(len(device) + 2 for device in pool.devices), 4)
        call.out(f"  pool: {pool.name}\n state: ONLINE\nconfig:\n\n")
        call.out(f"\t{'NAME':<{width}}  STATE     READ WRITE CKSUM\n")
        call.out(f"\t{pool.name:<{width}}  ONLINE       0     0     0\n")
        for device in pool.devices:
            call.out(f"\t{'  ' + device:<{width}}  ONLINE       0     0     0\n")
        call.out("\nerrors: No known data errors\n")
    return 0


def create(call: Call) -> int:
    """zpool create: devices are only remembered; the space is the host's."""
    options, words = parse_options(call, "dfno:O:m:R:t:", "usage:\n\tcreate [-fnd] <pool> <vdev> ...\n", 2)
    if len(words) < 2:
        raise CommandExit(2, "missing pool name argument" if not words else "invalid vdev specification: at least one "
                          "toplevel vdev must be specified")  # fmt: skip
    name, *devices = words
    if name in call.kernel.zfs.pools:
        raise CommandExit(1, f"cannot create '{name}': pool already exists")
    wrong = check_name(name)
    if wrong is not None or "/" in name:
        raise CommandExit(1, f"cannot create '{name}': {wrong or 'invalid character in pool name'}")
    kinds = ("mirror", "raidz", "raidz1", "raidz2", "raidz3", "log", "cache", "spare")
    for device in devices:
        if device not in kinds and not call.path(device if device.startswith("/") else f"/dev/{device}").exists():
            raise CommandExit(
                1, f"cannot open '{device}': no such device in /dev\nmust be a full path or shorthand device name"
            )
    properties = {}
    for letter, value in options:
        if letter == "O":
            properties[value.partition("=")[0]] = value.partition("=")[2]
        if letter == "m":
            properties["mountpoint"] = value
    call.kernel.zfs.create_pool(name, [device for device in devices if device not in kinds], properties)
    return 0


def destroy(call: Call) -> int:
    """zpool destroy."""
    _, words = parse_options(call, "f", "usage:\n\tdestroy [-f] <pool>\n", 2)
    if len(words) != 1:
        raise CommandExit(2, "missing pool argument" if not words else "too many arguments")
    _find(call, words[0])
    if words[0] == "zroot":
        raise CommandExit(
            1, "cannot unmount '/': pool or dataset is busy\ncould not destroy 'zroot': could not unmount datasets"
        )
    try:
        call.kernel.zfs.destroy_pool(words[0])
    except ZfsError as error:
        raise CommandExit(1, str(error)) from None
    return 0


VERBS = {"list": list_, "get": get, "status": status, "create": create, "destroy": destroy}


def main(call: Call) -> int:
    """Run the command."""
    if len(call.argv) < 2:
        raise CommandExit(2, "missing command\nusage: zpool command args ...")
    verb = call.argv[1]
    if verb in ("set", "scrub", "trim", "import", "export", "add", "remove", "attach", "detach", "replace", "online",
                "offline", "clear", "upgrade", "history", "iostat", "events", "labelclear", "split", "sync",
                "checkpoint", "wait", "initialize", "resilver", "reguid", "reopen"):  # fmt: skip
        raise NotSimulated(f"zpool {verb}")
    run = VERBS.get(verb)
    if run is None:
        raise CommandExit(2, f"unrecognized command '{verb}'\nusage: zpool command args ...")
    if verb in ("create", "destroy") and (not call.is_root or call.jail.jid != 0):
        name = next((word for word in call.argv[2:] if not word.startswith("-")), "")
        raise CommandExit(1, f"cannot {verb} '{name}': permission denied")
    with call.kernel.lock:
        return run(replace(call, argv=[call.argv[0], *call.argv[2:]]))
