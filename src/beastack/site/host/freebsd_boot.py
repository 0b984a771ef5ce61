"""Start a site when FreeBSD boots: an rc(8) script and the variable of rc.conf(5) that switches it on.

The script is the port's; a site at another place than the default, or run
from a clone, gets one of its own. What the script prints at boot is the boot
log of the site, begun anew each time: there is nothing for newsyslog(8).
"""

from __future__ import annotations

import json
from pathlib import Path

from beastack.freebsd import service
from beastack.site import records
from beastack.site.configuration import Site
from beastack.site.records import Record

PROJECT = Path(__file__).resolve().parents[4]
TEMPLATE = PROJECT / "packaging" / "freebsd" / "files" / "beastack.in"
SCRIPTS = Path("/usr/local/etc/rc.d")

#: The kind of record of a variable of rc.conf(5).
VARIABLE = "rc.conf"
ON = "YES"


def script_file(site: Site) -> Path:
    """Return where the rc script of a site lives."""
    return SCRIPTS / site.layout.prefix


def script_text(site: Site, command: Path) -> str:
    """Return the rc script: the port's, with this site's name and places."""
    text = TEMPLATE.read_text()
    values = {"NAME": site.layout.prefix, "ROOT": site.layout.root, "COMMAND": command, "PREFIX": "/usr/local"}
    for word, value in values.items():
        text = text.replace(f"%%{word}%%", str(value))
    return text


def enable(site: Site) -> str:
    """Write the script, unless a package has brought it, and switch it on; return what was done, in one line.

    :raises CommandError: rc.conf cannot be changed
    """
    script, variable = script_file(site), service.enabling_variable(site.layout.prefix)
    ours = Record("file", str(script))
    if not script.exists() or ours in records.read(site.layout.records):
        records.add(site.layout.records, ours)
        script.parent.mkdir(parents=True, exist_ok=True)
        temporary = script.with_name(f".{script.name}.new")
        temporary.write_text(script_text(site, PROJECT / "beastack"))
        temporary.chmod(0o555)
        temporary.replace(script)
    if not service.is_enabled(script.name):
        before = service.read_variable(variable)
        records.add(site.layout.records, Record(VARIABLE, variable, json.dumps({"before": before, "set": ON})))
        service.enable(script.name)
    return f"{script} starts the site at boot ({variable}={ON})"


def disable(site: Site) -> str:
    """Take back what ``enable`` did; return what was done, in one line.

    :raises CommandError: rc.conf cannot be changed
    """
    script, variable = script_file(site), service.enabling_variable(site.layout.prefix)
    known = records.read(site.layout.records)
    found = [record for record in known if (record.kind, record.name) == (VARIABLE, variable)]
    for record in found:
        undo(record)
        records.drop(site.layout.records, record)
    ours = Record("file", str(script))
    if ours in known:
        script.unlink(missing_ok=True)
        records.drop(site.layout.records, ours)
    if service.is_enabled(script.name):
        service.disable(script.name)  # by hand, or by another beastack
        return f"{variable} is NO: the site is not started at boot"
    return f"{variable} is as it was before" if found else "the site is not started at boot"


def undo(record: Record) -> str:
    """Give a variable the value that it had, unless somebody has set another since.

    :raises CommandError: rc.conf cannot be changed
    """
    change = json.loads(record.detail)
    now = service.read_variable(record.name)
    if now != change["set"]:
        return f"left {record.name} in rc.conf, which somebody else has set"
    if change["before"] is None:
        service.delete_variable(record.name)
        return f"removed {record.name} from rc.conf"
    service.write_variable(record.name, change["before"])
    return f"set {record.name} in rc.conf back to {change['before']}"
