"""What is measured on a running layout: memory, processor time, API latency, servers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

from beastack.site.api import Cloud
from beastack.site.configuration import Site
from beastack.site.host.linux import memory_of
from beastack.site.steps import IMAGE_NAME
from beastack.site.wait import wait_until

PREFIX = "benchmark-"
FLAVOR = "m1.tiny"


# Processes


def memory(pids: Sequence[int]) -> dict[str, float]:
    """Return the PSS of processes in MB by what they are called, largest first."""
    sizes: dict[str, float] = {}
    for pid in pids:
        size = memory_of(pid)
        if size is not None:
            title = title_of(pid)
            sizes[title] = sizes.get(title, 0.0) + size / 1e6
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def title_of(pid: int) -> str:
    """Return a process's name for people: the service's, without paths and options."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").split()
    except OSError:
        return "gone"
    if any("privsep-helper" in word for word in words) or "privileged" in " ".join(words):
        return "privileged daemons"
    if "--procname-prefix-spaced" in words:
        return words[words.index("--procname-prefix-spaced") + 1]
    if words[:1] and "python" in words[0].rpartition("/")[2]:
        words = [word for word in words[1:] if not word.startswith("-")] or words
    return " ".join(words)[:40] if words[:1] == ["beastack:"] else (words or ["?"])[0].rpartition("/")[2]


def processor_seconds(pids: Sequence[int], reaper: int) -> dict[int, float]:
    """Return the processor time that processes have had, with that of the programs that they ran and waited for.

    The reaper waits for everybody's orphans, guests too: only its own time counts.
    """
    spent = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            last = 13 if pid == reaper else 15
            spent[pid] = sum(int(field) for field in fields[11:last]) / os.sysconf("SC_CLK_TCK")
    return spent


def idle(processes: Callable[[], list[int]], reaper: int, settle: float, span: float) -> dict[str, Any]:
    """Return processor use in per cent of one core and PSS in MB, of a cloud that nobody asks anything."""
    time.sleep(settle)
    before, began = processor_seconds(processes(), reaper), time.monotonic()
    time.sleep(span)
    elapsed, after = time.monotonic() - began, processor_seconds(processes(), reaper)
    # A process that ended meanwhile is missed; one that began counts from its start.
    by_pid = {pid: 100 * (spent - before.get(pid, 0.0)) / elapsed for pid, spent in after.items()}
    busiest = sorted(by_pid.items(), key=lambda item: -item[1])[:8]
    by_name = memory(processes())
    return {
        "cpu": sum(by_pid.values()),
        "pss": sum(by_name.values()),
        "processes": len(processes()),
        "pss by name": {name: round(size, 1) for name, size in by_name.items()},
        "busiest": {f"{title_of(pid)} {pid}": round(share, 2) for pid, share in busiest},
    }


# APIs


@dataclass(frozen=True)
class Request:
    """One request, to be sent again and again."""

    name: str
    url: str
    method: str
    body: bytes | None
    headers: dict[str, str]


def requests(site: Site, cloud: Cloud) -> list[Request]:
    """Return the requests that are measured, as the site's first user."""
    scope = {"project": {"name": "demo", "domain": {"name": "Default"}}}
    user = {"name": "demo", "domain": {"name": "Default"}, "password": site.secrets["demo"]}
    auth = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
    json_type = {"Content-Type": "application/json", "Accept": "application/json"}
    issue = Request("token issue", f"{site.auth_url}/auth/tokens", "POST", json.dumps(auth).encode(), json_type)
    token = _send(issue, None)[1].getheader("X-Subject-Token") or ""
    headers = {"X-Auth-Token": token, "Accept": "application/json"}
    return [
        issue,
        Request("GET /servers", cloud.endpoint("compute") + "/servers", "GET", None, headers),
        Request("GET /networks", cloud.endpoint("network") + "/networks", "GET", None, headers),
    ]


def _send(
    request: Request, connection: http.client.HTTPConnection | None
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    parts = urlsplit(request.url)
    connection = connection or http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
    connection.request(request.method, parts.path, request.body, request.headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"{request.name}: HTTP {answer.status}")
    return connection, answer


def load(request: Request, clients: int, count: int) -> dict[str, float]:
    """Send ``count`` requests from ``clients`` threads, each on a connection of its own kept open.

    Returns p50 and p95 of the latency in ms, and requests per second.
    """
    left = iter(range(count))
    guard = threading.Lock()
    taken: list[float] = []
    errors: list[Exception] = []

    def client() -> None:
        connection = None
        try:
            while True:
                with guard:
                    if next(left, None) is None:
                        return
                began = time.monotonic()
                connection, _ = _send(request, connection)
                with guard:
                    taken.append(time.monotonic() - began)
        except Exception as error:
            errors.append(error)
        finally:
            if connection is not None:
                connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.monotonic() - began
    if errors:
        raise errors[0]
    return {"p50": 1000 * median(taken), "p95": 1000 * percentile_95(taken), "rate": len(taken) / elapsed}


def percentile_95(values: Sequence[float]) -> float:
    """Return the 95th percentile; the largest, of few values."""
    return quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


# Servers


class Servers:
    """Creates and deletes servers in the first user's project."""

    def __init__(self, site: Site, admin: Cloud, demo: Cloud) -> None:
        self.demo, self.admin = demo, admin
        flavor = demo.find("compute", "/flavors", "flavors", FLAVOR)
        image = demo.find("image", "/images", "images", IMAGE_NAME)
        network = demo.find("network", "/networks", "networks", site.description.network.project_name)
        if flavor is None or image is None or network is None:
            raise RuntimeError("the site has not been brought up to its end: run up")
        self.body = {"flavorRef": flavor["id"], "imageRef": image["id"], "networks": [{"uuid": network["id"]}]}

    @contextlib.contextmanager
    def room(self, count: int):  # type: ignore[no-untyped-def]
        """Let the project have more servers for a while, and remove the benchmark's at the end."""
        path = f"/os-quota-sets/{self.demo.project_id}"
        quota = {"instances": count + 10, "cores": count + 20, "ram": 1024 * (count + 50)}
        self.admin.put("compute", path, {"quota_set": quota})
        try:
            yield
        finally:
            self.remove_all()
            self.admin.delete("compute", path)

    def create(self, number: int) -> str:
        """Ask for a server; return its id."""
        body = {"server": {"name": f"{PREFIX}{number}", **self.body}}
        return str(self.demo.post("compute", "/servers", body, microversion="2.96")["server"]["id"])

    def in_state(self, status: str) -> list[str]:
        """Return the ids of the benchmark's servers in a state; the cheapest way to ask for them."""
        query = {"name": f"^{PREFIX}", "status": status}
        return [server["id"] for server in self.demo.items("compute", "/servers", "servers", query)]

    def one_by_one(self, count: int) -> dict[str, float]:
        """Create and delete servers one after the other; return seconds until ACTIVE and until gone."""
        active, gone = [], []
        for number in range(count):
            began = time.monotonic()
            server = self.create(number)
            wait_until(lambda server=server: self._is_active(server), what="a server to be ACTIVE", timeout=180,  # type: ignore[misc]
                       interval=0.1)  # fmt: skip
            active.append(time.monotonic() - began)
            gone.append(self.remove_all())
        return {"p50": median(active), "max": max(active), "deleted p50": median(gone)}

    def _is_active(self, server: str) -> tuple[bool, str]:
        seen = self.demo.get("compute", f"/servers/{server}")["server"]["status"]
        if seen == "ERROR":
            raise RuntimeError(f"server {server} is in state ERROR")
        return seen == "ACTIVE", seen

    def at_once(self, count: int) -> dict[str, float]:
        """Create servers at once; return seconds until the first, the median and the last were ACTIVE."""
        began = time.monotonic()
        threads = [threading.Thread(target=self.create, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        posted = time.monotonic() - began
        seen: dict[str, float] = {}

        def all_active() -> tuple[bool, str]:
            for server in self.in_state("ACTIVE"):
                seen.setdefault(server, time.monotonic() - began)
            if time.monotonic() - began > 30 and self.in_state("ERROR"):
                raise RuntimeError("a server is in state ERROR")
            return len(seen) >= count, f"{len(seen)} of {count} are"

        wait_until(all_active, what=f"{count} servers to be ACTIVE", timeout=300, interval=0.5)
        times = sorted(seen.values())
        return {
            "posted": posted, "first": times[0], "median": median(times), "last": times[-1],
            "all deleted": self.remove_all(),
        }  # fmt: skip

    def remove_all(self) -> float:
        """Delete the benchmark's servers; return seconds until all were gone."""
        began = time.monotonic()
        path = {"name": f"^{PREFIX}"}
        for server in self.demo.items("compute", "/servers", "servers", path):
            self.demo.delete("compute", f"/servers/{server['id']}", ok=(204, 404))

        def gone() -> tuple[bool, str]:
            left = self.demo.items("compute", "/servers", "servers", path)
            return not left, f"{len(left)} are left"

        wait_until(gone, what="the servers to be gone", timeout=180, interval=0.2)
        return time.monotonic() - began
