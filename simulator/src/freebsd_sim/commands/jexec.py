"""jexec(8): run a program inside a jail."""

from __future__ import annotations

from freebsd_sim.call import Call, CommandExit, Exec, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.accounts import Accounts, User
from freebsd_sim.kernel.errors import KernelError, strerror
from freebsd_sim.kernel.jails import Jail

USAGE = "usage: jexec [-l] [-d working-directory] [-u username | -U username] jail [command ...]"
USAGE_15 = (
    "usage: jexec [-l] [-d working-directory] [-e name=value]\n"
    "             [-u username | -U username] jail [command ...]"
)
CLEAN_PATH = "/bin:/usr/bin"


def main(call: Call) -> int | Exec:
    """Run jexec: resolve the jail, enter it, change the directory and the user, become the program."""
    newer = call.kernel.release.major >= 15
    usage = USAGE_15 if newer else USAGE
    letters, operands = parse_options(call, "d:e:lnu:U:" if newer else "d:lnu:U:", usage)
    chosen = dict(letters)
    if not operands or ("u" in chosen and "U" in chosen):
        raise CommandExit(1, usage)
    accounts = Accounts.of_root(call.kernel.root)
    account = _find_user(accounts, chosen.get("u", chosen.get("U")))
    jail = _find_jail(call, operands[0])
    _check_attach(call, jail)
    directory = chosen.get("d", "/")
    if not call.path(directory).is_dir():
        raise CommandExit(1, f"jexec: chdir(): {directory}: {strerror('ENOENT')}")
    environ = dict(call.environ)
    user = account
    if "l" in chosen:
        environ = {"PATH": CLEAN_PATH} | {name: environ[name] for name in ("TERM",) if name in environ}
        if account is not None and "d" not in chosen:
            directory = account.home
        account = account or accounts.user_of(call.uid)
    if account is not None:
        environ |= {"HOME": account.home, "SHELL": account.shell, "USER": account.name}
    environ |= dict(value.partition("=")[::2] for letter, value in letters if letter == "e")
    argv = operands[1:] or [environ.get("SHELL", "/bin/sh"), "-i"]
    return Exec(
        argv=argv,
        environ=environ,
        cwd=directory,
        jail=jail,
        uid=user.uid if user else None,
        gid=user.gid if user else None,
        groups=accounts.groups_of(user) if user else None,
        fail_text=f"jexec: execvp: {argv[0]}: ",
    )


def _find_user(accounts: Accounts, name: str | None) -> User | None:
    if name is None:
        return None
    user = accounts.user(name)
    if user is None:
        raise CommandExit(1, f"jexec: {name}: no such user")
    return user


def _find_jail(call: Call, name: str) -> Jail:
    try:
        return call.kernel.jails.get(name, call.jail)
    except KernelError as error:
        raise CommandExit(1, f"jexec: {error.text}") from None


def _check_attach(call: Call, jail: Jail) -> None:
    if not call.is_root:
        raise CommandExit(1, f"jexec: jail_attach({jail.jid}): {strerror('EPERM')}")
    if jail is call.jail:
        # jail_attach(2) knows no jail of number 0.
        raise CommandExit(1, f"jexec: jail_attach(0): {strerror('EINVAL')}")
    if jail.path != "/":
        raise NotSimulated("jexec: a jail with a root of its own")
