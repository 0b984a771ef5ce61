"""ifconfig(8): options, the order in which a line is worked through, and lists."""

from __future__ import annotations

import fnmatch
import getopt

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands import ifconfig_links, ifconfig_words
from freebsd_sim.commands.ifconfig_run import FAMILIES, LINK_FAMILIES, Run, fail
from freebsd_sim.commands.ifconfig_show import Format, Style, format_interface
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.interface_model import NAME_LIMIT, Interface
from freebsd_sim.kernel.jails import Jail

OPTIONS = "G:adDf:j:klmnuvLCg:"
USAGE = """\
usage: ifconfig [-j jail] [-f type:format] [-L] [-C] [-g groupname] interface address_family
                [address [dest_address]] [parameters]
       ifconfig [-j jail] interface create
       ifconfig [-j jail] -a [-L] [-C] [-g groupname] [-d] [-m] [-u] [-v] [address_family]
       ifconfig [-j jail] -l [-d] [-u] [address_family]
       ifconfig [-j jail] [-L] [-C] [-g groupname] [-d] [-m] [-u] [-v]"""
CREATE_WORDS = ("create", "plumb")
# Modules by the cloner they are for; anything else is if_ and the name.
MODULES = {"tun": "if_tuntap", "tap": "if_tuntap", "vmnet": "if_tuntap", "ipsec": "ipsec"}
ETHER_KINDS = ("epair", "bridge", "tap", "vlan", "vxlan", "nic")


class Options:
    """What the options of a command line say."""

    def __init__(self) -> None:
        self.style = Style(Format())
        self.all = self.names_only = self.down_only = self.up_only = self.no_load = False
        self.match_group: str | None = None
        self.no_group: str | None = None
        self.jail: str | None = None
        self.family: str | None = None


class Quiet(Call):
    """A call whose output is kept until the kernel's lock is free: the reader may be slow."""

    def __init__(self, call: Call) -> None:
        super().__init__(**vars(call))
        self.kept: list[tuple[bool, str]] = []

    def out(self, text: str) -> None:
        """Keep text for standard output."""
        self.kept.append((True, text))

    def err(self, text: str) -> None:
        """Keep text for standard error."""
        self.kept.append((False, text))


def main(call: Call) -> int:
    """Run ifconfig."""
    quiet = Quiet(call)
    try:
        with call.kernel.lock:
            return _main(quiet)
    finally:
        for is_out, text in quiet.kept:
            (call.out if is_out else call.err)(text)


def _usage() -> CommandExit:
    return CommandExit(1, USAGE)


def _main(call: Call) -> int:
    options = Options()
    if "IFCONFIG_FORMAT" in call.environ:
        options.style.format.choose(call.environ["IFCONFIG_FORMAT"])
    arguments = _parse_options(call, options)
    if arguments is None:
        return 0
    for warning in options.style.format.warnings:
        call.err(f"ifconfig: {warning}\n")
    jail = _attach(call, options)
    if options.all or options.names_only:
        _list(call, jail, options, None)
        return 0
    name = arguments.pop(0)
    if not options.no_load:
        _load_module(call, name)
    present = any(interface.name == name for interface in call.kernel.interfaces.list(jail))
    run = Run(call, jail, name)
    first = arguments[0] if arguments else None
    try:
        if not present:
            if first in CREATE_WORDS:
                if len(name) > NAME_LIMIT:
                    raise fail(f"{name}: cloning name too long")
                _apply(run, arguments, creating=True)
                return 0
            if first == "-vnet":
                if len(name) > NAME_LIMIT:
                    raise fail(f"{name}: interface name too long")
                _apply(run, arguments, creating=False)
                return 0
            raise fail(f"interface {name} does not exist")
        if first in CREATE_WORDS:
            if len(arguments) == 1:
                raise fail(f"interface {name} already exists")
            arguments.pop(0)
        if arguments and arguments[0] in FAMILIES:
            options.family = run.family = arguments.pop(0)
        if arguments:
            if _matches_state(run.interface(), options):
                _apply(run, arguments, creating=False)
            return 0
        options.style.family = options.family
        _list(call, jail, options, name)
        return 0
    finally:
        if run.printed:
            call.out(f"{run.printed}\n")


def _parse_options(call: Call, options: Options) -> list[str] | None:
    """Read the options; returns the arguments after them, or None when an option did all that was asked."""
    try:
        found, arguments = getopt.getopt(call.argv[1:], OPTIONS)
    except getopt.GetoptError as error:
        reason = "option requires an argument" if f"{error.opt}:" in OPTIONS else "illegal option"
        call.err(f"ifconfig: {reason} -- {error.opt}\n")
        raise _usage() from None
    style = options.style
    for option, value in found:
        if option == "-j":
            options.jail = value
        elif option == "-a":
            options.all = True
        elif option == "-l":
            options.names_only = True
        elif option == "-d":
            options.down_only = True
        elif option == "-u":
            options.up_only = True
        elif option == "-n":
            options.no_load = True
        elif option == "-f":
            style.format.choose(value)
        elif option in ("-D", "-v"):
            style.driver_name = True
        elif option == "-L":
            style.lifetimes = True
        elif option == "-m":
            style.capabilities = True
        elif option == "-k":
            pass  # keys of wireless interfaces
        elif option == "-G":
            if not options.all:
                raise _usage()
            options.no_group = value
        elif option == "-C":
            call.out(" ".join(_list_cloners(call)) + "\n")
            return None
        elif option == "-g" and options.all:
            options.match_group = value
        elif option == "-g":
            # The group's members and nothing else; a -j that comes later is not seen.
            jail = _attach(call, options)
            for member in call.kernel.interfaces.groups(jail).get(value, []):
                call.out(f"{member}\n")
            return None
    if options.names_only and (options.all or style.capabilities):
        raise _usage()
    if options.up_only and options.down_only:
        raise _usage()
    if not options.names_only and not arguments:
        options.all = True
    if options.all or options.names_only:
        if len(arguments) > 1:
            raise _usage()
        if arguments:
            if arguments[0] not in FAMILIES:
                call.err(f"ifconfig: Address family '{arguments[0]}' unknown.\n")
                raise _usage()
            options.family = style.family = arguments[0]
    return arguments


def _attach(call: Call, options: Options) -> Jail:
    if options.jail is None:
        return call.jail
    try:
        jail = call.kernel.jails.get(options.jail, call.jail)
    except KernelError as error:
        raise fail("jail not found: No such file or directory") from error
    if not call.is_root:
        raise fail("cannot attach to jail: permission denied")
    return jail


def _list_cloners(call: Call) -> list[str]:
    """Return the cloners that are there: those of the kernel, and those of loaded modules."""
    cloners = [name for name in ("epair", "bridge", "vxlan") if call.kernel.modules.is_loaded(f"if_{name}")]
    return [*cloners, "vmnet", "tap", "tun", "lo", "vlan", "gif", "stf"]


def _load_module(call: Call, name: str) -> None:
    """Load the module of an interface's driver; a failure is not told."""
    prefix = name.rstrip("0123456789") or name
    module = MODULES.get(prefix, f"if_{prefix}")
    if not call.is_root or call.jail.jid != 0:
        return
    try:
        call.kernel.modules.load(module)
    except KernelError:
        pass


def _matches_state(interface: Interface, options: Options) -> bool:
    return not (options.down_only and interface.up) and not (options.up_only and not interface.up)


def _matches(interface: Interface, options: Options) -> bool:
    if not _matches_state(interface, options):
        return False
    groups = [*interface.groups, "all"]
    if options.match_group is not None and not any(fnmatch.fnmatchcase(group, options.match_group) for group in groups):
        return False
    if options.no_group is not None and any(fnmatch.fnmatchcase(group, options.no_group) for group in groups):
        return False
    if options.family is None:
        return True
    if options.family == "ether":
        return interface.kind in ETHER_KINDS
    if options.family in LINK_FAMILIES:
        return True
    return any(address.family == options.family for address in interface.addresses)


def _list(call: Call, jail: Jail, options: Options, name: str | None) -> None:
    found = [
        interface
        for interface in call.kernel.interfaces.list(jail)
        if (name is None or interface.name == name) and _matches(interface, options)
    ]
    if options.names_only:
        call.out(" ".join(interface.name for interface in found) + "\n")
        return
    call.out("".join(format_interface(call.kernel, interface, options.style) for interface in found))


def _apply(run: Run, arguments: list[str], creating: bool) -> None:
    """Work a line off from left to right, then the address; ``creating`` until the interface is made."""
    if creating:
        arguments = arguments[1:]
    while arguments:
        word = arguments[0]
        table = ifconfig_words.CLONE_WORDS if creating else ifconfig_words.WORDS
        if creating and word not in table:
            ifconfig_words.create(run)
            creating = False
            if word in FAMILIES:
                run.family = word
                arguments = arguments[1:]
            continue
        if word not in table:
            run.take_address(word)
            arguments = arguments[1:]
            continue
        count, action = table[word]
        taken = _take(word, arguments[1:], count)
        arguments = arguments[1 + len(taken) :]
        action(run, word, taken)
        if word == "addm" and arguments and arguments[0] in ("untagged", "tagged"):
            raise NotSimulated("ifconfig: VLAN filtering in a bridge")
        if word in ("static", "deladdr") and arguments and arguments[0] == "vlan":
            raise NotSimulated("ifconfig: VLANs in a bridge's address table")
    if creating:
        ifconfig_words.create(run)
    ifconfig_links.check_vlan(run)
    run.finish()


def _take(word: str, arguments: list[str], count: int) -> list[str]:
    """Return the arguments of a word: -1 takes one if there is one."""
    if count < 0:
        return arguments[:1]
    if len(arguments) < count:
        raise fail(f"'{word}' requires argument" if count == 1 else f"'{word}' requires 2 arguments")
    return arguments[:count]
