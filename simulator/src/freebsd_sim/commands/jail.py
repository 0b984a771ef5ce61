"""jail(8): make, change and remove jails, by parameters on the command line."""

from __future__ import annotations

import os
import signal
import stat
import time

from freebsd_sim.call import Call, CommandExit, Exec, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.commands.jail_script import OWN_PARAMETERS, OwnParameters, make_script
from freebsd_sim.kernel.errors import KernelError, strerror
from freebsd_sim.kernel.jail_parameters import AT_CREATION, STRING
from freebsd_sim.kernel.jails import Jail

USAGE = """\
usage: jail [-dhilqv] [-J jid_file] [-u username] [-U username]
            -[cmr] param=value ... [command=command ...]
       jail [-dqv] [-f file] -[cmr] [jail]
       jail [-qv] [-f file] -[rR] ['*' | jail ...]
       jail [-dhilqv] [-J jid_file] [-u username] [-U username]
            [-n jailname] [-s securelevel]
            path hostname ip[,...] command ...
       jail [-f file] -e separator"""
CONFIGURATION = "/etc/jail.conf"
STOP_TIMEOUT = 10.0  # seconds; stop.timeout's default
LOOK_AGAIN = 0.02  # seconds


class Settings:
    """What the options ask for, and the parameters."""

    def __init__(self, call: Call, letters: list[tuple[str, str]]) -> None:
        self.call = call
        self.letters = {letter for letter, _ in letters}
        arguments = dict(letters)
        self.configuration = arguments.get("f", CONFIGURATION)
        self.jid_file = arguments.get("J")
        self.verbose = 1 if "v" in self.letters else -1 if self.letters & {"q", "i"} else 0
        self.given: list[tuple[str, str | None]] = []  # kernel parameters as written
        self.own = OwnParameters()
        for letter, argument in letters:
            name = {"n": "name", "s": "securelevel", "u": "exec.jail_user", "U": "exec.jail_user"}.get(letter)
            if name is not None:
                self.add(name, argument)
            if letter == "U":
                self.add("exec.system_jail_user", "false")
            if letter == "l":
                self.add("exec.clean", None)

    def add(self, name: str, value: str | None) -> None:
        """Take one parameter; a later one of the same name replaces an earlier one."""
        if self.own.add(name, value):
            return
        self.given = [pair for pair in self.given if pair[0] != name]
        self.given.append((name, value))

    def note(self, text: str) -> None:
        """Print a line that -v asks for."""
        if self.verbose > 0:
            self.call.out(f"{text}\n")


def main(call: Call) -> int | Exec:
    """Run jail."""
    letters, operands = parse_options(call, "Ccde:f:hiJ:lmn:p:qrRs:u:U:v", USAGE)
    settings = Settings(call, letters)
    chosen = settings.letters
    for letter in chosen & {"C", "e", "h"}:
        raise NotSimulated(f"jail: -{letter}")
    if chosen & {"r", "R"} and not chosen & {"c", "m"}:
        return _stop(settings, operands)
    if chosen & {"r", "R"}:
        raise NotSimulated("jail: restarting a jail (-r with -c or -m)")
    if not chosen & {"c", "m"}:
        if len(operands) < 4 or not operands[0].startswith("/"):
            raise CommandExit(1, USAGE)
        raise NotSimulated("jail: the old form with four fixed parameters")
    if len(operands) < 2 and not (operands and "=" in operands[0]):
        return _refuse_configuration(settings)
    _read_parameters(settings, operands)
    return _start_or_set(settings)


def _refuse_configuration(settings: Settings) -> int:
    if settings.call.path(settings.configuration).exists():
        raise NotSimulated("jail: jail.conf(5)")
    raise CommandExit(1, f"jail: {settings.configuration}: {strerror('ENOENT')}")


def _read_parameters(settings: Settings, operands: list[str]) -> None:
    words = list(operands)
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name == "command":
            settings.own.command += ([value] if equals else []) + words
            return
        if name.endswith("+") and settings.own.knows(name[:-1]):
            settings.own.add(name[:-1], value)
            continue
        settings.add(name, value if equals else None)


# Making and changing


def _start_or_set(settings: Settings) -> int | Exec:
    call, jails = settings.call, settings.call.kernel.jails
    values: dict[str, str] = {}
    try:
        for name, text in settings.given:
            parameter, value = jails.table.import_value(name, text)
            values[parameter.name] = value
    except KernelError as error:
        raise CommandExit(1, f"jail: {error.text}") from None
    settings.own.check()
    known_as = values.get("jid") or values.get("name")
    running = _find_running(call, values)
    create, update = "c" in settings.letters, "m" in settings.letters
    if running is not None and not update:
        raise CommandExit(1, f'jail: "{known_as}" already exists')
    if running is None and not create:
        raise CommandExit(1, f'jail: "{known_as}" not found' if known_as else "jail: no jail specified")
    if running is None:
        return _create(settings, values)
    return _update(settings, running, values, with_commands=create)


def _find_running(call: Call, values: dict[str, str]) -> Jail | None:
    key = values.get("jid", values.get("name"))
    if not key or key == "0":
        return None
    try:
        return call.kernel.jails.get(key, call.jail)
    except KernelError:
        return None


def _create(settings: Settings, values: dict[str, str]) -> int | Exec:
    call, own = settings.call, settings.own
    if own.before_creation:
        return make_script(settings.verbose, own, None, _repeat_without_preparation(settings))
    if "path" in values:
        values["path"] = _check_path(call, values["path"])
    keep = values.get("persist") != "true" and own.runs_something
    if keep:
        values["persist"] = "true"
        settings.given = [
            ("persist", None),
            *[pair for pair in settings.given if pair[0] not in ("persist", "nopersist")],
        ]
    if ("ip4.addr" in values or "ip6.addr" in values) and values.get("vnet") != "new":
        raise NotSimulated("jail: a jail with addresses of its host's stack (ip4.addr, ip6.addr)")
    jail = _call_jail_set(settings, values, create=True)
    if "i" in settings.letters:
        call.out(f"{jail.jid}\n")
    settings.note("created")
    _write_jid_file(settings, jail)
    if own.runs_something or own.created:
        return make_script(settings.verbose, own, jail, clear_persist=keep)
    for name in own.interfaces:
        _move_interface(settings, jail, name, values)
    return 0


def _update(settings: Settings, jail: Jail, values: dict[str, str], *, with_commands: bool) -> int | Exec:
    table = settings.call.kernel.jails.table
    present = settings.call.kernel.jails.values(jail, settings.call.jail)
    for name in [name for name in values if table.parameters[name].access == AT_CREATION]:
        if name != "jid" and values[name] != present[name]:
            raise CommandExit(1, f"jail: {name} cannot be changed after creation")
    runs = with_commands and bool(settings.own.start or settings.own.command)
    keep = runs and values.get("persist") == "false"
    changed = {name: value for name, value in values.items() if table.parameters[name].access != AT_CREATION}
    if keep:
        del changed["persist"]
    if changed:
        _call_jail_set(settings, changed | {"jid": str(jail.jid)}, create=False)
    settings.note("updated")
    if runs:
        return make_script(settings.verbose, settings.own, jail, clear_persist=keep, only_start=True)
    return 0


def _call_jail_set(settings: Settings, values: dict[str, str], *, create: bool) -> Jail:
    call = settings.call
    refused = None
    jail = None
    try:
        if not call.is_root:
            raise KernelError("EPERM", f"jail_set: {strerror('EPERM')}")
        jail = call.kernel.jails.set(values, create=create, update=not create, attach=False, caller=call.jail)
    except KernelError as error:
        refused = error
    words = [name if text is None else f"{name}={_quote(settings, name, text)}" for name, text in settings.given]
    end = f": {strerror(refused.name)}" if refused else ""
    settings.note(" ".join([f"jail_set({'JAIL_CREATE' if create else 'JAIL_UPDATE'})", *words]) + end)
    if jail is None:
        raise CommandExit(1, f"jail: {refused.text if refused else ''}")
    return jail


def _quote(settings: Settings, name: str, text: str) -> str:
    parameter, value = settings.call.kernel.jails.table.import_value(name, text)
    text = text if parameter.kind == STRING else value
    mark = '"' if not text or "'" in text else "'" if '"' in text else '"' if " " in text or "\t" in text else ""
    return f"{mark}{text}{mark}"


def _check_path(call: Call, path: str) -> str:
    """Return the jail's root as an absolute path.

    :raises CommandExit: it is not an existing directory
    """
    try:
        mode = os.stat(call.path(path)).st_mode
    except OSError as error:
        name = "ENOTDIR" if isinstance(error, NotADirectoryError) else "ENOENT"
        raise CommandExit(1, f"jail: path {path}: {strerror(name)}") from None
    if not stat.S_ISDIR(mode):
        raise CommandExit(1, f"jail: path {path}: {strerror('ENOTDIR')}")
    return os.path.normpath(os.path.join(call.cwd, path))


def _move_interface(settings: Settings, jail: Jail, name: str, values: dict[str, str]) -> None:
    call = settings.call
    interfaces = call.kernel.interfaces
    try:
        with call.kernel.lock:
            try:
                interface = interfaces.get(call.jail, name)
            except KernelError:
                raise KernelError("ENXIO", f"interface {name} does not exist") from None
            try:
                if not jail.vnet:
                    raise KernelError("EEXIST")
                interfaces.move(interface, jail)
            except KernelError as error:
                raise KernelError(error.name, f"SIOCSIFVNET: {error.text}") from None
    except KernelError as error:
        call.err(f"ifconfig: {error.text}\n")
        shown = values.get("jid") if ("jid", values.get("jid")) in settings.given else values.get("name")
        call.err(f"jail: /sbin/ifconfig {name} vnet {shown or jail.jid}: failed\n")
        call.kernel.jails.remove(jail)
        raise CommandExit(1) from None


def _write_jid_file(settings: Settings, jail: Jail) -> None:
    if settings.jid_file is None:
        return
    words = [f"jid={jail.jid}"]
    for name, text in settings.given:
        if name != "jid":
            words.append(name if text is None else f"{name}={_quote(settings, name, text)}")
    try:
        settings.call.path(settings.jid_file).write_text("\t".join(words) + "\n")
    except OSError as error:
        raise CommandExit(1, f"jail: open {settings.jid_file}: {os.strerror(error.errno or 0)}") from None


def _repeat_without_preparation(settings: Settings) -> list[str]:
    """Return the command line again, without the commands that run before the jail exists."""
    words = [word for word in settings.call.argv[1:] if word.partition("=")[0].rstrip("+") not in OWN_PARAMETERS[:2]]
    return ["/usr/sbin/jail", *words]


# Removing


def _stop(settings: Settings, operands: list[str]) -> int:
    call, at_once = settings.call, "R" in settings.letters
    if not operands or settings.given or (not at_once and any("=" in word for word in operands)):
        raise CommandExit(1, USAGE)
    if not at_once and call.path(settings.configuration).exists():
        raise NotSimulated("jail: jail.conf(5)")
    told = len(operands) > 1 or operands[0] == "*"
    status = 0
    for operand in operands:
        for name, jail in _find_targets(settings, operand):
            if jail is None:
                if settings.verbose >= 0:
                    call.err(f'jail: "{name}" not found\n')
                status = 1
                continue
            if not at_once:
                _end_processes(settings, jail)
            if not call.is_root:
                call.err(f"jail: {name}: jail_remove: {strerror('EPERM')}\n")
                status = 1
                continue
            call.kernel.jails.remove(jail)
            if settings.verbose > 0 or (settings.verbose == 0 and told):
                call.out(f"{name}: removed\n")
    return status


def _find_targets(settings: Settings, operand: str) -> list[tuple[str, Jail | None]]:
    call, jails = settings.call, settings.call.kernel.jails
    if operand == "*":
        return [
            (jails.name_for(jail, call.jail), jail) for jail in jails.visible(call.jail) if jail.parent is call.jail
        ]
    try:
        jail = jails.get(operand, call.jail)
    except KernelError:
        return [(operand, None)]
    return [(operand, None if jail is call.jail else jail)]


def _end_processes(settings: Settings, jail: Jail) -> None:
    """Send SIGTERM to a jail's own processes and wait until they have ended, or until stop.timeout has passed."""
    jails = settings.call.kernel.jails
    reached = jails.signal(jail, signal.SIGTERM) if settings.call.is_root else []
    if reached and settings.verbose > 0:
        settings.call.out(f"{jail.name}: sent SIGTERM to: {' '.join(map(str, reached))}\n")
    limit = time.monotonic() + STOP_TIMEOUT
    while set(reached) & set(jails.processes_of(jail)):
        if time.monotonic() > limit:
            settings.note(f"{jail.name}: timed out")
            return
        time.sleep(LOOK_AGAIN)
