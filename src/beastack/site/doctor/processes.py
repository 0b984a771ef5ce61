"""The site's processes: the supervisor and the services, their ports and logs."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from beastack.site import operate, services
from beastack.site.configuration import Site
from beastack.site.doctor.answers import Object
from beastack.site.doctor.files import is_locked
from beastack.site.doctor.finding import Finding, bad, good, listed
from beastack.site.doctor.view import View
from beastack.supervisor import logs

#: Minutes of the logs that are read for tracebacks.
LOG_MINUTES = 5
#: Characters of a log line that are shown.
WORDS_MAX = 200
_LOOKS_LIKE_ERROR = re.compile(
    r"\b(error|critical|fatal|failed|failure|cannot|denied|refused|no such|not found|in use|abort\w*)\b"
    r"|\w(Error|Exception)\b",
    re.IGNORECASE,
)
#: Errors by name that every healthy service logs as it starts: optional plug-ins that are not installed.
_HARMLESS = re.compile(r"stevedore\.extension|auto-allocated-topology")
_LOG_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)")


def check_supervisor(view: View) -> Iterator[Finding]:
    """The supervisor answers; if not, nothing runs without it."""
    answers, seen = view.supervisor
    if answers:
        yield good("supervisor", seen)
    elif view.own_pids:
        text = f"{seen}, while {len(view.own_pids)} processes of the site run on without it"
        yield bad("supervisor", text, f"{view.command('up')} (it takes them over)")
    else:
        yield bad("supervisor", f"the site is down: {seen}", view.command("up"))


def check_up(view: View) -> Iterator[Finding]:
    """The last ``up`` came to its end, with the description of now."""
    try:
        state = json.loads((view.layout.run() / "up.json").read_text())["state"]
    except (OSError, ValueError, KeyError, TypeError):
        seen = "up is at work" if is_locked(view) else "the last up did not come to its end"
        yield bad("up", seen, "wait for it" if is_locked(view) else view.command("up"))
        return
    if state == operate.state_digest(view.site):
        yield good("up", "it came to its end, as described")
    else:
        yield bad("up", "site.toml, beastack or this host changed since the last up", view.command("up"))


def check_services(view: View) -> Iterator[Finding]:
    """Every service runs, and keeps running."""
    expected = [spec.name for spec in view.steps.all_services()]
    unknown = [name for name in expected if name not in view.services]
    if unknown:
        yield bad("services", "the supervisor does not know: " + listed(unknown), view.redo)
    wrong, restarted = 0, []
    stopped = [name for name, item in view.services.items() if item["state"] == "stopped" and not item["wanted"]]
    if stopped:
        yield bad("services", "stopped, and not to be started: " + listed(stopped), view.command("up"))
    for name, item in view.services.items():
        if name in stopped:
            continue
        if item["state"] != "running" or item["failures"] >= 2:
            wrong += 1
            remedy = f"{view.command('logs', name)}; correct what it says, then {view.command('up')}"
            yield bad(name, _service_state(item), remedy)
        elif item["restarts"]:
            restarted.append(f"{name} ({item['restarts']}, last: {item['last_exit']})")
    if not wrong and not unknown and not stopped:
        more = f"; started again since: {listed(restarted)}" if restarted else ""
        yield good("services", f"all {len(view.services)} processes run{more}")


def _service_state(item: Object) -> str:
    seen = f"it is {item['state']}"
    if item["restarts"]:
        seen += f", ended {item['restarts']} times"
    if item["last_exit"]:
        seen += f", last: {item['last_exit']}"
    # The log of one that never ended badly says nothing about it.
    words = last_words(Path(item["log"])) if item["failures"] or item["restarts"] else ""
    return f"{seen}; {words}" if words else seen


def last_words(log: Path) -> str:
    """Return the last line of a log's end that looks like an error, else its last line; cut to be shown."""
    lines = [line.strip() for line in logs.last_lines(log, 40) if line.strip() and not _HARMLESS.search(line)]
    words = next((line for line in reversed(lines) if _LOOKS_LIKE_ERROR.search(line)), lines[-1] if lines else "")
    return words if len(words) <= WORDS_MAX else words[: WORDS_MAX - 1] + "…"


def check_shared_ports(view: View) -> Iterator[Finding]:
    """No other program listens on a port of the site's."""
    taken = 0
    for key in port_keys(view.site):
        port = getattr(view.site.ports, key)
        holder = view.host.port_holder(port)
        pid = re.search(r"\(pid (\d+)\)$", holder or "")
        if holder is not None and not (pid and int(pid.group(1)) in view.own_pids):
            taken += 1
            yield bad("ports", f"port {port} is taken by {holder}", f"stop it, or set ports.{key} in site.toml")
    if not taken:
        yield good("ports", "none is taken by another program")


def port_keys(site: Site) -> list[str]:
    """Return the keys in site.toml of the ports that the site's processes listen on."""
    host, keys = site.description.host, [unit.port for unit in services.units(site.description) if unit.port]
    if host.has_switch:
        keys.append("openflow")
    if not host.has_control:
        return keys
    keys += ["novnc", "serial"]
    return keys if site.description.messaging.url is not None else [*keys, "messaging", "epmd", "erlang"]


def check_logs(view: View) -> Iterator[Finding]:
    """What services logged with a traceback just now; never wrong by itself, services live with some."""
    since = datetime.fromtimestamp(time.time() - LOG_MINUTES * 60)
    count, where = 0, []
    for log in sorted((view.layout.root / "log").glob("*.log")):
        found = recent_tracebacks(logs.last_lines(log, 2000, 256 * 1024), since)
        if found:
            count += found
            where.append(f"{log.stem} ({found})")
    seen = f"{count} in the last {LOG_MINUTES} minutes: {listed(where)}" if count else "none recently"
    yield good("tracebacks", seen)


def recent_tracebacks(lines: Sequence[str], since: datetime) -> int:
    """Return how many tracebacks stand in log lines from a local time on; a line without a time is of the last one."""
    count, recent = 0, False
    for line in lines:
        match = _LOG_TIME.match(line)
        if match:
            with contextlib.suppress(ValueError):
                recent = datetime.fromisoformat(f"{match.group(1)} {match.group(2)}") >= since
        if recent and "Traceback (most recent call last)" in line:
            count += 1
    return count
