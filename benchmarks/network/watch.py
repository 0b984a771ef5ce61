"""What stays while a place is measured: programs that are spoken with, what watches flows, pings, the agent's log."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.network.places import FAR, TOOLS, Place, PlaceError

AGENT = "neutron-ovs-agent"
LIMIT = 180.0  # seconds for anything that is waited for
QUIET = 1.0  # seconds without a change of a flow: there comes no more
PING = 0.02  # seconds between requests

#: A round of the agent that has ended: ports added, ports updated, seconds.
ROUND = re.compile(r"completed\. Processed ports statistics:.*'added': (\d+), 'updated': (\d+).*Elapsed:([\d.]+)")


def name_of(number: int) -> str:
    """Return the name of a guest (a network namespace, a jail)."""
    return f"bench-guest-{number}"


class Api:
    """The cloud's APIs, asked by a program that stays, in the place's own network."""

    def __init__(self, place: Place) -> None:
        self.program = Lines(place.outside(
            "env", f"PYTHONPATH={TOOLS}", sys.executable, str(TOOLS / "api_client.py"),
            place.site.auth_url,
        ))  # fmt: skip
        self.program.say(place.secret("admin"))

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask neutron and return what it says.

        :raises PlaceError: it refused
        """
        self.program.say(json.dumps({"service": "network", "method": method, "path": f"/v2.0{path}", "body": body}))
        answer = json.loads(self.program.hear())
        if not 200 <= answer["status"] < 300:
            raise PlaceError(f"{method} {path}: {answer}")
        return answer["body"]

    def close(self) -> None:
        """End the program."""
        self.program.close()


class Lines:
    """A program that one speaks with in lines."""

    def __init__(self, argv: Sequence[str], *, quiet: bool = False) -> None:
        self.argv = argv
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.DEVNULL if quiet else None,
            # An interrupt is for the one who closes it.
            start_new_session=True,
        )  # fmt: skip

    def say(self, line: str) -> None:
        """Send a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Return the next line.

        :raises PlaceError: it ended
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise PlaceError(f"{self.argv}: ended with {self.process.wait()}")
        return line

    def close(self) -> str:
        """Let it end by itself, as its input does, and return what it still says."""
        return self.process.communicate(timeout=30)[0]


class FlowWatch:
    """Notes when a flow of the integration bridge last changed."""

    def __init__(self, place: Place) -> None:
        self.process = subprocess.Popen(
            place.ofctl("monitor", "watch:!initial"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL, text=True, env={**os.environ, "OVS_RUNDIR": str(place.switch)},
        )  # fmt: skip
        self.last = time.monotonic()
        self.count = 0
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        # What was not asked for is printed there.
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "event=" in line:
                self.last = time.monotonic()
                self.count += 1

    def wait_until_quiet(self, seconds: float = QUIET) -> None:
        """Wait until no flow has changed for so long."""
        wait(lambda: time.monotonic() > self.last + seconds, "flows to stay as they are", 0.05)

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.reader.join()
        self.process.wait()


class Ping:
    """A guest that asks another all the time."""

    def __init__(self, place: Place, number: int, address: str, file: Path) -> None:
        self.file = file
        self.program = Lines(place.outside(
            sys.executable, str(TOOLS / "network_guest.py"), "ping", FAR.format(number), address,
            "--interval", str(PING), "--watch", str(file), guest=name_of(number),
        ), quiet=True)  # fmt: skip

    def has_replies(self) -> bool:
        """Return whether there was a reply yet."""
        return self.file.exists() and self.file.stat().st_size > 0

    def end(self) -> dict[str, float]:
        """End it; return how many requests were sent and lost, and the longest time without a reply in seconds.

        A ping that never came back counts until now.
        """
        ended = time.time()
        self.program.process.terminate()
        answer = json.loads(self.program.close())
        times = [float(line.split()[0]) for line in self.file.read_text().splitlines()]
        marks = [*(moment for moment in times if moment < ended), ended]
        gap = max(after - before for before, after in pairwise(marks))
        return {"sent": answer["sent"], "lost": answer["lost"], "gap": gap}

    def close(self) -> None:
        """End it if it still runs."""
        self.program.process.terminate()
        self.program.process.wait()


class AgentLog:
    """What the agent's log says from now on."""

    def __init__(self, place: Place) -> None:
        self.file = place.layout.log(AGENT)
        self.start = self.file.stat().st_size

    def busy(self) -> float:
        """Return the seconds that the agent's rounds took that had ports to look after."""
        with self.file.open() as stream:
            stream.seek(self.start)
            rounds = [match for match in map(ROUND.search, stream) if match]
        return sum(float(match[3]) for match in rounds if match[1] != "0" or match[2] != "0")


def wait(condition: Callable[[], Any], what: str, interval: float = 0.1, limit: float = LIMIT) -> Any:
    """Wait until a condition gives something true, and return that.

    :raises PlaceError: not in time
    """
    end = time.monotonic() + limit
    while not (found := condition()):
        if time.monotonic() > end:
            raise PlaceError(f"not within {limit:g} s: {what}")
        time.sleep(interval)
    return found
