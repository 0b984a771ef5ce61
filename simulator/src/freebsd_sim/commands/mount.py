"""mount(8): the table of mounted file systems; mounting is not simulated."""

from __future__ import annotations

from dataclasses import dataclass

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands import libxo
from freebsd_sim.commands.bsd_options import parse_options

USAGE = (
    "usage: mount [-adflpruvw] [-F fstab] [-o options] [-t ufs | external_type]\n"
    "       mount [-dfpruvw] special | node\n"
    "       mount [-dfpruvw] [-o options] [-t ufs | external_type] special node"
)  # fmt: skip


@dataclass
class Mount:
    """A mounted file system."""

    source: str
    point: str
    kind: str
    words: list[str]  # as mount(8) prints them after the type

    @property
    def options(self) -> str:
        """The options for fstab(5)."""
        kept = [word for word in self.words if word in ("noatime", "nosuid", "noexec", "read-only", "nfsv4acls")]
        return ",".join(["ro" if "read-only" in kept else "rw", *(word for word in kept if word != "read-only")])


def read_mounts(call: Call) -> list[Mount]:
    """Return the mounted file systems: the root first, then devices, then the other datasets."""
    zfs = call.kernel.zfs
    mounts = []
    for dataset in zfs.datasets.values():
        point = zfs.property_of(dataset, "mountpoint")[0]
        if dataset.kind != "filesystem" or not dataset.mounted or point in ("none", "legacy"):
            continue
        words = ["local"]
        for name, word in (("atime", "noatime"), ("exec", "noexec"), ("setuid", "nosuid")):
            if zfs.property_of(dataset, name)[0] == "off":
                words.append(word)
        if zfs.property_of(dataset, "readonly")[0] == "on":
            words.append("read-only")
        mounts.append(Mount(dataset.name, point, "zfs", [*words, "nfsv4acls"]))
    mounts.sort(key=lambda mount: mount.point != "/")
    mounts.insert(1, Mount("devfs", "/dev", "devfs", []))
    return mounts


def format_fstab(mount: Mount) -> str:
    """Return a line as fstab(5) has it, with mount(8)'s tabs."""
    text = ""
    for word in (mount.source, mount.point):
        tabs = "\t" * ((len(word) < 8) + (len(word) < 16)) + ("\t" if len(word) < 24 else " ")
        text += word + tabs
    options = mount.options
    return f"{text}{mount.kind}\t{options}{chr(9) if len(options) < 8 else ' '}\t0 0\n"


def main(call: Call) -> int:
    """Run the command."""
    as_json = libxo.take_style(call)
    options, words = parse_options(call, "adF:fLlno:pruvwt:", USAGE)
    values = dict(options)
    if words or set(values) & set("aFou"):
        if not call.is_root:
            raise CommandExit(1, f"mount: {words[0] if words else '/'}: Operation not permitted")
        raise NotSimulated("mount: mounting; only the table is shown")
    with call.kernel.lock:
        mounts = read_mounts(call)
    kinds = values.get("t", "")
    if kinds:
        negative = kinds.startswith("no")
        names = kinds.removeprefix("no").split(",")
        mounts = [mount for mount in mounts if (mount.kind in names) != negative]
    if as_json:
        entries = [{"special": mount.source, "node": mount.point, "fstype": mount.kind, "opts": mount.words}
                   for mount in mounts]  # fmt: skip
        call.out(libxo.format_document({"mount": {"mounted": entries}}, "1"))
    elif "p" in values:
        call.out("".join(format_fstab(mount) for mount in mounts))
    else:
        for mount in mounts:
            call.out(f"{mount.source} on {mount.point} ({', '.join([mount.kind, *mount.words])})\n")
    return 0
