"""The parameters of jail(8) that are not the kernel's, and the commands that they ask for.

The commands run as a shell script that the jail command becomes, so that they
are processes of their own, as on FreeBSD.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

from freebsd_sim.call import CommandExit, Exec, NotSimulated
from freebsd_sim.kernel.jails import Jail

SHELL_SIGNS = set("!\"$&'()*;<>?[\\]`{|}~")
LISTS = {
    "exec.prepare": "before_creation",
    "exec.prestart": "before_creation",
    "exec.created": "created",
    "vnet.interface": "interfaces",
    "exec.start": "start",
    "exec.poststart": "after",
}
# Used when the jail is stopped, which without jail.conf(5) happens in another run that does not know them.
FOR_LATER = ("exec.prestop", "exec.stop", "exec.poststop", "exec.release", "stop.timeout")
BOOLEANS = ("exec.clean", "exec.system_jail_user", "allow.dying", "mount.devfs", "mount.fdescfs", "mount.procfs")
STRINGS = ("exec.jail_user", "exec.consolelog", "exec.fib", "exec.timeout", "exec.system_user", "ip_hostname",
           "interface", "depend", "mount", "mount.fstab", "zfs.dataset", "host.devid")  # fmt: skip
REFUSED = ("exec.timeout", "exec.system_user", "ip_hostname", "interface", "depend", "mount", "mount.fstab",
           "zfs.dataset", "mount.devfs", "mount.fdescfs", "mount.procfs")  # fmt: skip
OWN_PARAMETERS = ("exec.prepare", "exec.prestart", *LISTS, *FOR_LATER, *BOOLEANS, *STRINGS)


@dataclass
class OwnParameters:
    """jail(8)'s own parameters of one command line."""

    before_creation: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    interfaces: list[str] = field(default_factory=list)
    start: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)

    @property
    def runs_something(self) -> bool:
        """Whether a command runs once the jail exists, for which the jail is kept meanwhile."""
        return bool(self.start or self.command or self.after)

    def knows(self, name: str) -> bool:
        """Tell whether a name is one of these parameters ("exec.noclean" is "exec.clean")."""
        return name in OWN_PARAMETERS or self._positive(name) in BOOLEANS

    @staticmethod
    def _positive(name: str) -> str:
        head, dot, tail = name.rpartition(".")
        return f"{head}{dot}{tail[2:]}" if tail.startswith("no") else ""

    def add(self, name: str, value: str | None) -> bool:
        """Take a parameter if it is one of these; tell whether it was."""
        if not self.knows(name):
            return False
        if name in LISTS:
            items: list[str] = getattr(self, LISTS[name])
            items += (value or "").split(",") if name == "vnet.interface" else [value or ""]
        elif self._positive(name) in BOOLEANS:
            self.words[self._positive(name)] = "false"
        elif name in BOOLEANS:
            self.words[name] = "true" if value is None else value.lower()
        else:
            self.words[name] = value or ""
        return True

    def check(self) -> None:
        """Refuse what is not simulated, and values that are none.

        :raises CommandExit: with jail(8)'s text
        """
        for name in BOOLEANS:
            if self.words.get(name, "false") not in ("true", "false", "0", "1"):
                raise CommandExit(1, f'jail: {name}: unknown boolean value "{self.words[name]}"')
        for name in REFUSED:
            if self.words.get(name, "false") not in ("false", "0", ""):
                raise NotSimulated(f"jail: the parameter {name}")
        if self.words.get("exec.fib", "0") != "0":
            raise NotSimulated("jail: exec.fib other than 0")

    def is_true(self, name: str) -> bool:
        """Return the value of a boolean."""
        return self.words.get(name, "false") in ("true", "1")


def make_script(
    verbose: int,
    own: OwnParameters,
    jail: Jail | None,
    then: list[str] | None = None,
    *,
    clear_persist: bool = False,
    only_start: bool = False,
) -> Exec:
    """Return the shell that runs the commands in their order; a failing one ends it and removes the jail.

    :param jail: the jail that was made, or None before there is one
    :param then: what the shell becomes at the end
    """
    number = str(jail.jid) if jail is not None else ""
    undo = f"/usr/sbin/jail -R {number}; " if jail is not None and not only_start else ""
    lines = [f'fail() {{ echo "jail: $1" >&2; {undo}exit 1; }}', _CHECK]
    if jail is None:
        for text in own.before_creation:
            lines += _make_step(_split(text), [], verbose, own)
    else:
        inside = ["/usr/sbin/jexec"]
        if own.is_true("exec.clean"):
            inside.append("-l")
        if "exec.jail_user" in own.words:
            inside += ["-u" if own.is_true("exec.system_jail_user") else "-U", own.words["exec.jail_user"]]
        inside.append(number)
        for text in [] if only_start else own.created:
            lines += _make_step(_split(text), [], verbose, own)
        for name in [] if only_start else own.interfaces:
            lines += _make_step(["/sbin/ifconfig", name, "vnet", number], [], verbose, own)
        for text in own.start:
            lines += _make_step(_split(text), inside, verbose, own)
        if own.command:
            lines += _make_step(own.command, inside, verbose, own)
        for text in [] if only_start else own.after:
            lines += _make_step(_split(text), [], verbose, own)
    if clear_persist:
        lines.append(f"exec /usr/sbin/jail -m jid={number} nopersist")
    if then is not None:
        lines.append(f"exec {shlex.join(then)}")
    return Exec(["/bin/sh", "-c", "\n".join(lines), "jail"])


_CHECK = """\
check() {
    if [ "$1" -gt 128 ]; then fail "$2: exited on signal $(($1 - 128))"; fi
    if [ "$1" -ne 0 ]; then fail "$2: failed"; fi
}"""


def _split(text: str) -> list[str]:
    signs = SHELL_SIGNS & set(text)
    if signs and not (text.endswith("&") and text.index("&") == len(text) - 1 and signs == {"&"}):
        return ["/bin/sh", "-c", text]
    return text.split()


def _make_step(words: list[str], inside: list[str], verbose: int, own: OwnParameters) -> list[str]:
    words = list(words)
    background = bool(words) and words[-1].endswith("&")
    if background:
        words[-1] = words[-1][:-1]
        words = [word for word in words if word]
    if not words:
        return []
    shown = " ".join(words)
    lines = []
    if verbose > 0:
        place = " in jail" if inside else ""
        user = f" as {own.words['exec.jail_user']}" if inside and "exec.jail_user" in own.words else ""
        lines.append(f"printf '%s\\n' {shlex.quote(f'run command{place}{user}: {shown}')}")
    call = shlex.join([*inside, *words])
    if inside and "exec.consolelog" in own.words:
        call += f" >>{shlex.quote(own.words['exec.consolelog'])} 2>&1"
    if background:
        return [*lines, f"{call} &"]
    return [*lines, call, f"check $? {shlex.quote(shown)}"]
