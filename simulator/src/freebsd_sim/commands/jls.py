"""jls(8): list jails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from freebsd_sim.call import Call, CommandExit
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.commands.libxo import format_document, take_style
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.jail_parameters import BOOLEAN, IPV4, IPV6, READ_ONLY, Parameter, negative_name

USAGE = "jls: usage: jls [-dhNnqv] [-j jail] [param ...]"
XO_VERSION = "2"


@dataclass
class Wishes:
    """What the options ask for."""

    names_for_jids: bool = False
    header: bool = False
    name_value: bool = False
    quoted: bool = False
    skip: bool = False
    verbose: bool = False
    dying: bool = False
    check: bool = False
    jail: str | None = None


def main(call: Call) -> int:
    """Run jls."""
    as_json = take_style(call)
    letters, operands = parse_options(call, "acdj:hNnqsv", USAGE)
    wishes = _read_wishes(letters)
    try:
        names = [name for operand in operands for name in _expand(call, operand)]
        parameters = _find_parameters(call, names, wishes)
        if wishes.jail is not None:
            jails = [call.kernel.jails.get(wishes.jail, call.jail, dying=wishes.dying)]
        else:
            jails = call.kernel.jails.visible(call.jail, dying=wishes.dying)
    except KernelError as error:
        raise CommandExit(1, "" if wishes.check else f"jls: {error.text}") from None
    if wishes.check:
        return 0 if jails else 1
    rows = [call.kernel.jails.values(jail, call.jail) for jail in jails]
    if as_json:
        items = [_describe(row, parameters, wishes) for row in rows]
        call.out(format_document({"jail-information": {"jail": items}}, XO_VERSION))
    else:
        call.out(_format_text(rows, parameters, wishes))
    return 0


def _read_wishes(letters: list[tuple[str, str]]) -> Wishes:
    wishes = Wishes()
    for letter, argument in letters:
        if letter in "ad":
            wishes.dying = True
        elif letter == "c":
            wishes.check = True
        elif letter == "j":
            wishes.jail = argument
        elif letter == "h":
            wishes.header, wishes.skip, wishes.verbose = True, False, False
        elif letter == "N":
            wishes.names_for_jids = True
        elif letter == "n":
            wishes.name_value, wishes.verbose = True, False
        elif letter == "q":
            wishes.quoted = True
        elif letter == "s":
            wishes.name_value = wishes.quoted = wishes.skip = True
            wishes.header = wishes.verbose = False
        elif letter == "v":
            wishes.verbose = True
            wishes.header = wishes.name_value = wishes.skip = False
    return wishes


def _expand(call: Call, name: str) -> list[str]:
    if name != "all":
        return [name]
    return sorted(call.kernel.jails.table.parameters, key=lambda one: ("." in one, one))


def _find_parameters(call: Call, names: list[str], wishes: Wishes) -> list[tuple[str, Parameter]] | None:
    """Return the parameters to print with the names to print them by; None: one of the fixed forms."""
    if not names:
        if not wishes.header and not wishes.name_value:
            return None
        names = _expand(call, "all")
    else:
        wishes.verbose = False
    return [(name, call.kernel.jails.table.find(name)[0]) for name in dict.fromkeys(names)]


def _shown(row: dict[str, str], parameters: list[tuple[str, Parameter]], wishes: Wishes) -> list[tuple[str, Parameter]]:
    """Leave out, for -s, what cannot be set, and what belongs to a jailsys parameter that is not "new"."""
    if not wishes.skip:
        return parameters
    shown = []
    for name, parameter in parameters:
        owner = name.partition(".")[0] if "." in name else ""
        if parameter.access != READ_ONLY and row.get(owner, "new") == "new":
            shown.append((name, parameter))
    return shown


def _value_of(row: dict[str, str], name: str, parameter: Parameter) -> str:
    value = row[parameter.name]
    if name != parameter.name:
        return "false" if value == "true" else "true"
    return value


# Text


def _format_text(rows: list[dict[str, str]], parameters: list[tuple[str, Parameter]] | None, wishes: Wishes) -> str:
    if parameters is not None:
        lines = [" ".join(name for name, _ in parameters)] if wishes.header else []
        lines += [_format_row(row, parameters, wishes) for row in rows]
    elif wishes.verbose:
        lines = [f"   JID  Hostname{'':22}Path", f"{'':8}Name{'':26}State", f"{'':8}CPUSetID", f"{'':8}IP Address(es)"]
        for row in rows:
            state = "DYING" if row["dying"] == "true" else "ACTIVE"
            lines.append(f"{row['jid']:>6}  {row['host.hostname']:<29.29} {row['path']:.74}")
            lines.append(f"        {row['name']:<29.29} {state:.74}")
            lines.append(f"        {row['cpuset.id']}")
            lines += [f"        {address}" for address in _split(row["ip4.addr"]) + _split(row["ip6.addr"])]
    elif wishes.names_for_jids:
        lines = [f" {'JID':<15} {'IP Address':<15} {'Hostname':<29} Path"]
        lines += [f" {row['name']:<15} {_format_place(row)}" for row in rows]
    else:
        lines = [f"{'JID':>6}  IP Address{'':6}Hostname{'':22}Path"]
        lines += [f"{row['jid']:>6}  {_format_place(row)}" for row in rows]
    return "".join(f"{line}\n" for line in lines)


def _format_place(row: dict[str, str]) -> str:
    address = row["ip4.addr"].partition(",")[0]
    return f"{address:<15.15} {row['host.hostname']:<29.29} {row['path']:.74}"


def _format_row(row: dict[str, str], parameters: list[tuple[str, Parameter]], wishes: Wishes) -> str:
    words = []
    for name, parameter in _shown(row, parameters, wishes):
        value = _value_of(row, name, parameter)
        if wishes.name_value and parameter.kind == BOOLEAN:
            truth = row[parameter.name] == "true"
            words.append(parameter.name if truth else negative_name(parameter.name))
            continue
        head = f"{name}=" if wishes.name_value else ""
        if parameter.kind in (IPV4, IPV6) and not value:
            words.append(head + ('""' if wishes.quoted else "" if wishes.name_value else "-"))
        else:
            words.append(head + _quote(value, wishes.quoted))
    return " ".join(words)


def _quote(value: str, wanted: bool) -> str:
    if not value:
        return '""'
    if not wanted:
        return value
    mark = '"' if "'" in value else "'" if '"' in value else '"' if " " in value or "\t" in value else ""
    return f"{mark}{value}{mark}"


# JSON


def _split(addresses: str) -> list[str]:
    return addresses.split(",") if addresses else []


def _describe(row: dict[str, str], parameters: list[tuple[str, Parameter]] | None, wishes: Wishes) -> dict[str, Any]:
    if parameters is not None:
        item: dict[str, Any] = {}
        for name, parameter in _shown(row, parameters, wishes):
            value = _value_of(row, name, parameter)
            if wishes.name_value and parameter.kind == BOOLEAN:
                item[name] = value == "true"
            elif parameter.kind in (IPV4, IPV6):
                item[name] = _split(value)
            else:
                item[name] = value
        return item
    if wishes.verbose:
        return {
            "jid": int(row["jid"]),
            "hostname": row["host.hostname"],
            "path": row["path"],
            "name": row["name"],
            "state": "DYING" if row["dying"] == "true" else "ACTIVE",
            "cpusetid": int(row["cpuset.id"]),
            "ipv4_addrs": _split(row["ip4.addr"]),
            "ipv6_addrs": _split(row["ip6.addr"]),
        }
    first: dict[str, Any] = {"name": row["name"]} if wishes.names_for_jids else {"jid": int(row["jid"])}
    address = row["ip4.addr"].partition(",")[0]
    return first | {"ipv4": address, "hostname": row["host.hostname"], "path": row["path"]}
