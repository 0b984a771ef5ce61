"""su(1): become another user. Root alone may; nobody has a password here."""

from __future__ import annotations

from freebsd_sim.call import Call, CommandExit, Exec
from freebsd_sim.kernel.accounts import Accounts

USAGE = "usage: su [-] [-flms] [-c class] [login [args]]"
DEFAULT_PATH = "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
KEPT = ("TERM",)


def main(call: Call) -> Exec:
    """Run the user's shell, or a command by it, as that user."""
    words = call.argv[1:]
    flags = set()
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word == "-c":  # before the login it names a login class
            if not words:
                raise CommandExit(1, USAGE)
            words.pop(0)
        elif set(word[1:]) <= set("flms"):
            flags |= set(word[1:]) or {"l"}
        else:
            raise CommandExit(1, f"su: illegal option -- {word[1]}\n{USAGE}")
    name, arguments = (words[0], words[1:]) if words else ("root", [])
    accounts = Accounts.of_root(call.kernel.root)
    user = accounts.user(name)
    if user is None:
        raise CommandExit(1, f"su: unknown login: {name}")
    if not call.is_root and user.uid != call.uid:
        raise CommandExit(1, "su: Sorry")
    own = accounts.user_of(call.uid)
    shell = (own.shell if "m" in flags and own else user.shell) or "/bin/sh"
    environ = dict(call.environ)
    if "l" in flags:
        environ = {key: call.environ[key] for key in KEPT if key in call.environ}
        environ |= {"PATH": DEFAULT_PATH, "USER": name}
    if "m" not in flags:
        environ |= {"HOME": user.home, "SHELL": shell}
        if user.uid != 0:
            environ["USER"] = name
    program = shell.rpartition("/")[2]
    return Exec(
        [f"-{program}" if "l" in flags else program, *arguments],
        program=shell, environ=environ, cwd=user.home if "l" in flags else None,
        uid=user.uid, gid=user.gid, groups=accounts.groups_of(user), fail_text=f"su: {shell}: ",
    )  # fmt: skip
