"""zfs(8): datasets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands import zfs_list
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.zfs import Dataset, ZfsError
from freebsd_sim.kernel.zfs_names import SHORT, parse_size

SEE = "\nFor the property list, run: zfs set|get\n\nFor the delegated permission list, run: zfs allow|unallow\n"
USAGES = {
    "create": "create [-Pnpuv] [-o property=value] ... <filesystem>\n"
    "\tcreate [-Pnpsv] [-b blocksize] [-o property=value] ... -V <size> <volume>",
    "destroy": "destroy [-fnpRrv] <filesystem|volume>\n"
    "\tdestroy [-dnpRrv] <filesystem|volume>@<snap>[%<snap>][,...]\n"
    "\tdestroy <filesystem|volume>#<bookmark>",
    "snapshot": "snapshot [-r] [-o property=value] ... <filesystem|volume>@<snap> ...",
    "rollback": "rollback [-rRf] <snapshot>",
    "clone": "clone [-p] [-o property=value] ... <snapshot> <filesystem|volume>",
    "promote": "promote <clone-filesystem>",
    "rename": "rename [-f] <filesystem|volume|snapshot> <filesystem|volume|snapshot>\n"
    "\trename -p [-f] <filesystem|volume> <filesystem|volume>\n"
    "\trename -u [-f] <filesystem> <filesystem>\n"
    "\trename -r <snapshot> <snapshot>",
    "set": "set [-u] <property=value> ... <filesystem|volume|snapshot> ...",
    "inherit": "inherit [-rS] <property> <filesystem|volume|snapshot> ...",
    "mount": "mount\n\tmount [-flvO] [-o opts] <-a|-R filesystem|filesystem>",
    "unmount": "unmount [-fu] <-a | filesystem|mountpoint>",
}
NOT_HERE = frozenset(
    [
        "upgrade",
        "userspace",
        "groupspace",
        "projectspace",
        "project",
        "share",
        "unshare",
        "bookmark",
        "send",
        "receive",
        "recv",
        "allow",
        "unallow",
        "hold",
        "holds",
        "release",
        "diff",
        "jail",
        "unjail",
        "program",
        "load-key",
        "unload-key",
        "change-key",
        "redact",
        "wait",
        "rewrite",
        "zone",
        "unzone",
    ]
)


def fail_usage(verb: str, text: str = "") -> CommandExit:
    """Return how a verb ends that was called wrongly."""
    head = f"{text}\n" if text else ""
    return CommandExit(2, f"{head}usage:\n\t{USAGES[verb]}\n{SEE}")


def split_properties(verb: str, options: list[tuple[str, str]]) -> dict[str, str]:
    """Return the properties of -o options. :raises CommandExit: one has no equals sign."""
    found = {}
    for letter, text in options:
        if letter == "o":
            name, equals, value = text.partition("=")
            if not equals:
                raise fail_usage(verb, "missing '=' for property=value argument")
            found[SHORT.get(name, name)] = value
    return found


def create(call: Call) -> int:
    """zfs create."""
    options, words = parse_options(call, "Pnpsuvb:o:V:", f"usage:\n\t{USAGES['create']}\n{SEE}", 2)
    flags = {letter for letter, _ in options}
    values = dict(options)
    if len(words) != 1:
        raise fail_usage("create", "missing filesystem argument" if not words else "too many arguments")
    if flags & {"n", "P", "v"}:
        raise NotSimulated("zfs create -n, -P and -v")
    properties = split_properties("create", options)
    if "b" in flags:
        properties["volblocksize"] = values["b"]
    zfs = call.kernel.zfs
    if "V" not in flags:
        if "s" in flags or "b" in flags:
            raise fail_usage("create", f"'-{'s' if 's' in flags else 'b'}' can only be used when creating a volume")
        zfs.create(words[0], "filesystem", properties, parents="p" in flags, mount="u" not in flags)
        return 0
    try:
        size = parse_size(values["V"])
    except ValueError as error:
        raise fail_usage("create", f"bad volume size '{values['V']}': {error}") from None
    zfs.create(words[0], "volume", properties, size=size, sparse="s" in flags, parents="p" in flags)
    return 0


def _dependents(call: Call, dataset: Dataset) -> tuple[list[Dataset], list[Dataset]]:
    """Return what is below a dataset with all snapshots, deepest last, and the clones of these snapshots."""
    zfs = call.kernel.zfs
    inside: list[Dataset] = []
    for item in [dataset, *zfs.below(dataset.name)]:
        if item is not dataset:
            inside.append(item)
        if item.kind != "snapshot":
            inside += zfs.snapshots(item.name)
    clones = []
    for item in [dataset, *inside]:
        if item.kind == "snapshot":
            clones += [clone for clone in zfs.clones(item.name) if clone not in inside and clone is not dataset]
    return inside, clones


def _destroy_tree(call: Call, dataset: Dataset) -> None:
    zfs = call.kernel.zfs
    inside, clones = _dependents(call, dataset)
    for clone in clones:
        if clone.name in zfs.datasets:
            _destroy_tree(call, clone)
    # Clones inside of the tree go before the snapshots that they came from.
    ordered = sorted(inside, key=lambda item: (item.kind == "snapshot", -item.name.count("/")))
    for item in [*ordered, dataset]:
        if item.name in zfs.datasets:
            zfs.destroy(item)


def _destroy_dataset(call: Call, name: str, flags: set[str]) -> int:
    zfs = call.kernel.zfs
    dataset = zfs.get(name)
    action = f"cannot destroy '{name}'"
    inside, clones = _dependents(call, dataset)
    if inside and not flags & {"r", "R"}:
        hints = ["use '-r' to destroy the following datasets:", *(item.name for item in inside)]
        raise ZfsError(action, f"{dataset.kind} has children", hints)
    if clones and "R" not in flags:
        hints = ["use '-R' to destroy the following datasets:", *(item.name for item in clones)]
        raise ZfsError(action, f"{dataset.kind} has dependent clones", hints)
    if "/" not in name:
        raise ZfsError(action, "operation does not apply to pools", [
            "use 'zfs destroy -r " + name + "' to destroy all datasets in the pool",
            "use 'zpool destroy " + name + "' to destroy the pool itself",
        ])  # fmt: skip
    if "n" not in flags:
        _destroy_tree(call, dataset)
    return 0


def _find_snapshots(call: Call, name: str, flags: set[str]) -> list[Dataset]:
    zfs = call.kernel.zfs
    base, _, tail = name.partition("@")
    owners = [zfs.get(base)]
    if flags & {"r", "R"}:
        owners += zfs.below(base)
    found = []
    for owner in owners:
        have = zfs.snapshots(owner.name)
        plain = [item.name.partition("@")[2] for item in have]
        for word in tail.split(","):
            first, percent, last = word.partition("%")
            if not percent:
                found += [item for item, label in zip(have, plain, strict=True) if label == word]
                continue
            start = plain.index(first) if first in plain else 0 if not first else len(plain)
            end = plain.index(last) if last in plain else len(plain) - 1 if not last else -1
            found += have[start : end + 1]
    return found


def destroy(call: Call) -> int:
    """zfs destroy."""
    options, words = parse_options(call, "dfnprRv", f"usage:\n\t{USAGES['destroy']}\n{SEE}", 2)
    flags = {letter for letter, _ in options}
    if len(words) != 1:
        raise fail_usage("destroy", "missing dataset argument" if not words else "too many arguments")
    name = words[0]
    if "#" in name:
        raise NotSimulated("zfs destroy of bookmarks")
    with call.kernel.lock:
        if "@" not in name:
            return _destroy_dataset(call, name, flags)
        zfs = call.kernel.zfs
        snapshots = _find_snapshots(call, name, flags)
        if not snapshots:
            raise CommandExit(1, "could not find any snapshots to destroy; check snapshot names.")
        for snapshot in snapshots:
            clones = zfs.clones(snapshot.name)
            if clones and "d" in flags:
                zfs.defer(snapshot)
                continue
            if clones and "R" not in flags:
                raise ZfsError(f"cannot destroy '{snapshot.name}'", "snapshot has dependent clones", [
                    "use '-R' to destroy the following datasets:", *(clone.name for clone in clones)
                ])  # fmt: skip
            if "v" in flags:
                call.out(f"{'would destroy' if 'n' in flags else 'will destroy'} {snapshot.name}\n")
            if "n" not in flags:
                for clone in clones:
                    _destroy_tree(call, clone)
                zfs.destroy(snapshot)
    return 0


def snapshot(call: Call) -> int:
    """zfs snapshot."""
    options, words = parse_options(call, "ro:", f"usage:\n\t{USAGES['snapshot']}\n{SEE}", 2)
    flags = {letter for letter, _ in options}
    if not words:
        raise fail_usage("snapshot", "missing snapshot argument")
    zfs = call.kernel.zfs
    names = []
    for word in words:
        base, at, label = word.partition("@")
        if not at or not label:
            raise fail_usage("snapshot", f"'{word}' is not a snapshot" if at else "missing '@' delimiter")
        if base not in zfs.datasets:
            raise fail_usage("snapshot", f"cannot open '{base}': dataset does not exist")
        names.append(word)
        if "r" in flags:
            names += [f"{item.name}@{label}" for item in zfs.below(base)]
    zfs.snapshot(names, split_properties("snapshot", options))
    return 0


def clone(call: Call) -> int:
    """zfs clone."""
    options, words = parse_options(call, "po:u", f"usage:\n\t{USAGES['clone']}\n{SEE}", 2)
    flags = {letter for letter, _ in options}
    if len(words) != 2:
        missing = "missing source dataset argument" if not words else "missing target dataset argument"
        raise fail_usage("clone", missing if len(words) < 2 else "too many arguments")
    if "@" not in words[0]:
        raise ZfsError(f"cannot open '{words[0]}'", "operation not applicable to datasets of this type")
    call.kernel.zfs.clone(words[0], words[1], split_properties("clone", options), parents="p" in flags)
    return 0


def promote(call: Call) -> int:
    """zfs promote."""
    _, words = parse_options(call, "", f"usage:\n\t{USAGES['promote']}\n{SEE}", 2)
    if len(words) != 1:
        raise fail_usage("promote", "missing clone filesystem argument" if not words else "too many arguments")
    call.kernel.zfs.promote(words[0])
    return 0


def rename(call: Call) -> int:
    """zfs rename."""
    options, words = parse_options(call, "fpru", f"usage:\n\t{USAGES['rename']}\n{SEE}", 2)
    flags = {letter for letter, _ in options}
    if len(words) != 2:
        raise fail_usage("rename", "missing target dataset argument" if words else "missing source dataset argument")
    if "r" in flags:
        raise NotSimulated("zfs rename -r")
    target = words[1]
    if "@" in words[0] and target.startswith("@"):
        target = words[0].partition("@")[0] + target
    call.kernel.zfs.rename(words[0], target, parents="p" in flags)
    return 0


def rollback(call: Call) -> int:
    """zfs rollback."""
    options, words = parse_options(call, "rRf", f"usage:\n\t{USAGES['rollback']}\n{SEE}", 2)
    flags = {letter for letter, _ in options}
    if len(words) != 1:
        raise fail_usage("rollback", "missing dataset argument" if not words else "too many arguments")
    zfs = call.kernel.zfs
    with call.kernel.lock:
        target = zfs.get(words[0])
        if target.kind != "snapshot":
            raise fail_usage("rollback", f"'{words[0]}' is not a snapshot")
        taken = zfs.snapshots(target.parent)
        newer = taken[taken.index(target) + 1 :]
        if newer and not flags & {"r", "R"}:
            raise ZfsError(f"cannot rollback to '{target.name}'", "more recent snapshots or bookmarks exist", [
                "use '-r' to force deletion of the following snapshots and bookmarks:", *(item.name for item in newer)
            ])  # fmt: skip
        for item in reversed(newer):
            zfs.destroy(item)
    zfs.rollback(target)
    return 0


def set_(call: Call) -> int:
    """zfs set."""
    _, words = parse_options(call, "u", f"usage:\n\t{USAGES['set']}\n{SEE}", 2)
    count = next((index for index, word in enumerate(words) if "=" not in word), len(words))
    if not words or count == 0:
        raise fail_usage("set", "missing arguments" if not words else "missing property=value argument(s)")
    if count == len(words):
        raise fail_usage("set", "missing dataset name")
    with call.kernel.lock:
        for dataset in [call.kernel.zfs.get(name) for name in words[count:]]:
            for word in words[:count]:
                name, _, value = word.partition("=")
                call.kernel.zfs.set_property(dataset, SHORT.get(name, name), value)
    return 0


def inherit(call: Call) -> int:
    """zfs inherit."""
    options, words = parse_options(call, "rS", f"usage:\n\t{USAGES['inherit']}\n{SEE}", 2)
    if len(words) < 2:
        raise fail_usage("inherit", "missing property argument" if not words else "missing dataset argument")
    zfs = call.kernel.zfs
    with call.kernel.lock:
        for name in words[1:]:
            dataset = zfs.get(name)
            for item in [dataset, *(zfs.below(name) if ("r", "") in options else [])]:
                zfs.inherit(item, SHORT.get(words[0], words[0]))
    return 0


def mount(call: Call) -> int:
    """zfs mount."""
    options, words = parse_options(call, "flvaOo:R", f"usage:\n\t{USAGES['mount']}\n{SEE}", 2)
    zfs = call.kernel.zfs
    with call.kernel.lock:
        systems = [item for root in zfs.roots() for item in [root, *zfs.below(root.name)] if item.kind == "filesystem"]
        if not words and ("a", "") not in options:
            for item in systems:
                if item.mounted:
                    call.out(f"{item.name:<30}  {zfs.property_of(item, 'mountpoint')[0]}\n")
            return 0
        chosen = systems if not words else [zfs.get(words[0])]
        for item in chosen:
            mountpoint = zfs.property_of(item, "mountpoint")[0]
            action = f"cannot mount '{item.name}'"
            if mountpoint in ("none", "legacy") or item.properties.get("canmount") == "off":
                if words:
                    reason = "no mountpoint set" if mountpoint == "none" else "legacy mountpoint"
                    raise ZfsError(
                        action,
                        reason if item.properties.get("canmount") != "off" else "'canmount' property is set to 'off'",
                    )
                continue
            if item.mounted:
                if words:
                    raise ZfsError(action, "filesystem already mounted")
                continue
            zfs.set_mounted(item, True)
    return 0


def unmount(call: Call) -> int:
    """zfs unmount."""
    options, words = parse_options(call, "fua", f"usage:\n\t{USAGES['unmount']}\n{SEE}", 2)
    if ("a", "") in options or len(words) != 1:
        raise NotSimulated("zfs unmount -a") if not words else fail_usage("unmount", "too many arguments")
    zfs = call.kernel.zfs
    with call.kernel.lock:
        name = words[0]
        if name.startswith("/"):
            match = [item for item in zfs.datasets.values() if item.kind == "filesystem" and item.mounted
                     and zfs.property_of(item, "mountpoint")[0] == name]  # fmt: skip
            if not match:
                raise ZfsError(f"cannot unmount '{name}'", "not a ZFS filesystem")
            dataset = match[0]
        else:
            dataset = zfs.get(name)
        if not dataset.mounted:
            raise ZfsError(f"cannot unmount '{name}'", "not currently mounted")
        if dataset.preset:
            raise ZfsError(f"cannot unmount '{zfs.property_of(dataset, 'mountpoint')[0]}'", "pool or dataset is busy")
        zfs.set_mounted(dataset, False)
    return 0


VERBS: dict[str, Callable[[Call], int]] = {
    "create": create, "destroy": destroy, "snapshot": snapshot, "snap": snapshot, "clone": clone, "promote": promote,
    "rename": rename, "rollback": rollback, "set": set_, "inherit": inherit, "mount": mount, "unmount": unmount,
    "umount": unmount, "list": zfs_list.run_list, "get": zfs_list.run_get,
}  # fmt: skip
READING = frozenset(("list", "get"))


def main(call: Call) -> int:
    """Run the command."""
    if len(call.argv) < 2:
        verbs = "".join(f"\t{usage}\n" for usage in USAGES.values())
        raise CommandExit(
            2, f"missing command\nusage: zfs command args ...\nwhere 'command' is one of the following:\n\n{verbs}"
        )
    verb = call.argv[1]
    if verb in ("version", "-V", "--version"):
        version = "2.4.0-rc4" if call.kernel.release.at_least(15) else "2.2.7-0"
        call.out(f"zfs-{version}-FreeBSD_g099f69ff5\nzfs-kmod-{version}-FreeBSD_g099f69ff5\n")
        return 0
    if verb in NOT_HERE:
        raise NotSimulated(f"zfs {verb}")
    run = VERBS.get(verb)
    if run is None:
        raise CommandExit(2, f"unrecognized command '{verb}'\nusage: zfs command args ...")
    inner = replace(call, argv=[call.argv[0], *call.argv[2:]])
    names = [word for word in inner.argv[1:] if not word.startswith("-")]
    if verb not in READING and (not call.is_root or call.jail.jid != 0) and names:
        words = {"set": "set property for", "snapshot": "create snapshots", "clone": "create"}
        target = names[-1]
        raise CommandExit(1, f"cannot {words.get(verb, verb)} '{target}': permission denied" if verb != "snapshot"
                          else "cannot create snapshots : permission denied")  # fmt: skip
    try:
        return run(inner)
    except ZfsError as error:
        raise CommandExit(1, "\n".join([str(error), *error.hints])) from None
