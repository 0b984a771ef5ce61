"""mdo(1): run a command as another user, as mac_do(4) allows."""

from __future__ import annotations

from dataclasses import dataclass

from freebsd_sim.call import Call, CommandExit, Exec, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.accounts import Accounts
from freebsd_sim.kernel.errors import KernelError

USAGE = (
    "usage: mdo [-u username] [-i] [--] [command [args]]\n"
    "       mdo [-u username | -k] [-i | -g group [-G groups | -s mods]] [--] [command [args]]"
)  # fmt: skip


@dataclass
class Credentials:
    """What a process may act as."""

    uid: int
    gid: int
    groups: list[int]


def allows(rules: str, now: Credentials, wanted: Credentials) -> bool:
    """Tell whether security.mac.do.rules let a process change its credentials; mac_do(4)."""
    for rule in rules.replace(" ", "").split(";"):
        source, arrow, targets = rule.partition(">")
        if not arrow:
            source, arrow, targets = rule.partition(":")  # before 14.3
        kind, _, number = source.partition("=")
        if not arrow or not number.isdigit():
            continue
        holds = int(number) == now.uid if kind == "uid" else int(number) in (now.gid, *now.groups)
        if kind in ("uid", "gid") and holds and _fits(targets.split(","), now, wanted):
            return True
    return False


def _fits(clauses: list[str], now: Credentials, wanted: Credentials) -> bool:
    if clauses == ["any"]:
        return True

    def listed(flag: str, name: str, number: int, own: set[int]) -> bool:
        for clause in clauses:
            left, _, value = clause.partition("=")
            if left != flag + name:
                continue
            if value in ("*", "any", str(number)) or (value == "." and number in own):
                return True
        return False

    if not listed("", "uid", wanted.uid, {now.uid}):
        return False
    if not any("gid=" in clause for clause in clauses):
        return wanted.gid == now.gid and set(wanted.groups) <= {now.gid, *now.groups}
    own = {now.gid, *now.groups}
    if not listed("", "gid", wanted.gid, own):
        return False
    for number in wanted.groups:
        if listed("-", "gid", number, own):
            return False
        if not listed("+", "gid", number, own) and not listed("!", "gid", number, own):
            return False
    must = [clause.partition("=")[2] for clause in clauses if clause.startswith("!gid=")]
    return all(not number.isdigit() or int(number) in wanted.groups for number in must)


def main(call: Call) -> Exec:
    """Run the command."""
    options, words = parse_options(call, "u:kig:G:s:h", USAGE)
    values = dict(options)
    newer = call.kernel.release.at_least(15) or call.kernel.release.at_least(14, 4)
    if not newer and set(values) - {"u", "i"}:
        raise CommandExit(1, USAGE)
    if any(word.startswith("--") and word != "--" for word in call.argv[1:2]):
        raise NotSimulated(f"mdo: {call.argv[1]}")
    if "s" in values:
        raise NotSimulated("mdo: -s")
    if set(values) & {"g", "G"} and not set(values) & {"u", "k"}:
        raise CommandExit(1, "mdo: Some overrides specified, '-u' or '-k' needed.")
    accounts = Accounts.of_root(call.kernel.root)
    name = values.get("u", "root")
    user = accounts.user(name) or (accounts.user_of(int(name)) if name.isdigit() else None)
    now = Credentials(call.uid, call.gid, list(call.groups))
    if "k" in values:
        wanted = Credentials(now.uid, now.gid, now.groups)
    else:
        if user is None:
            raise CommandExit(1, f"mdo: invalid username '{name}'")
        wanted = Credentials(user.uid, now.gid, now.groups)
        if "i" not in values:
            wanted = Credentials(user.uid, user.gid, accounts.groups_of(user))
    if "g" in values:
        wanted.gid = _group(accounts, values["g"])
    if "G" in values:
        wanted.groups = [_group(accounts, word) for word in values["G"].split(",") if word]
    if call.uid != 0:
        _check(call, now, wanted)
    command = words or [call.environ.get("SHELL") or "/bin/sh", "-i"]
    return Exec(command, uid=wanted.uid, gid=wanted.gid, groups=wanted.groups, fail_text="mdo: exec failed: ")


def _group(accounts: Accounts, text: str) -> int:
    group = accounts.group(text)
    if group is not None:
        return group.gid
    if text.isdigit():
        return int(text)
    raise CommandExit(1, f"mdo: Invalid group '{text}'")


def _check(call: Call, now: Credentials, wanted: Credentials) -> None:
    sysctls = call.kernel.sysctls
    refused = CommandExit(1, "mdo: setcred(): Operation not permitted")
    try:
        enabled = sysctls.read_int("security.mac.do.enabled", call.jail)
        rules = str(sysctls.read("security.mac.do.rules", call.jail))
    except KernelError:
        raise refused from None
    if call.jail.jid != 0:  # a new jail starts with it off
        rules = call.jail.parameters.get("mac.do.rules", "")
    if not enabled or not allows(rules, now, wanted):
        raise refused
