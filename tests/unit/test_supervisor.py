"""The supervisor as a site sees it: real processes in a root of their own, then its parts.

Nothing here waits for time to pass: each wait is for something to be so,
with a limit that is only reached when it never will be.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from beastack.supervisor import child, logs, process, request, spec
from beastack.supervisor.client import Client, SupervisorError, TaskFailed
from beastack.supervisor.spec import Helper, Parent, Service, to_json

TESTS = Path(__file__).resolve().parent
SOURCE = TESTS.parent.parent / "src"
LIMIT = 30.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


def eventually(holds: Callable[[], Any], what: str) -> Any:
    """Wait until something holds, and return what it answered."""
    deadline = time.monotonic() + LIMIT
    while not (found := holds()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)
    return found


def lives(pid: int) -> bool:
    return process.start_time(pid) is not None


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not lives(pid), f"the end of {pid}")


def in_sessions(sessions: set[int]) -> list[int]:
    """Return the living processes of these sessions."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.getsid(int(entry.name)) in sessions and lives(int(entry.name)):
                    found.append(int(entry.name))
    return found


class Place:
    """A site's root with a supervisor, and everything that was started there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.client = Client(root)
        self.sessions: set[int] = set()
        self.detached: set[int] = set()
        self.env = {"PYTHONPATH": f"{SOURCE}:{TESTS}", "PATH": os.environ["PATH"]}
        self.services: list[Service] = []
        self.parents = [
            Parent("base", ("json",), (), None, sys.executable, self.env),
            Parent("p", ("supervised",), (), "base"),
        ]
        self.helpers: list[Helper] = []

    # What runs

    def up(self, *services: Service, max_bytes: int = 1 << 20) -> int:
        """Start a supervisor, and services; return the supervisor's pid."""
        try:
            self.client.start_supervisor(sys.executable, self.env, max_bytes, 2)
        finally:
            self.sessions.update(self.supervisors())
        if services:
            self.define(*services)
            self.start(*services)
        return self.pid()

    def supervisors(self) -> list[int]:
        """Return the pids of this root's supervisors (each leads a session)."""
        wanted = [b"beastack.supervisor.daemon", str(self.root).encode()]
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    if words[-5:-3] == wanted:  # ROOT MAX_BYTES KEEP, and what follows the last null byte
                        found.append(int(entry.name))
        return found

    def pid(self) -> int:
        return int(self.client.ask("status")["pid"])

    def define(self, *services: Service) -> None:
        self.services = list(services)
        self.client.define(self.services, self.parents, self.helpers)

    def start(self, *services: Service) -> None:
        self.client.ask("start", names=[service.name for service in services])

    def stop(self, *services: Service) -> None:
        self.client.ask("stop", names=[service.name for service in services])

    def kill_supervisor(self) -> None:
        kill(self.pid())

    # What they are

    def service(self, name: str, target: str = "serve", **changes: Any) -> Service:
        """Return a service forked from the parent ``p``."""
        env = {"REPORT": str(self.root / f"{name}.report"), "NOTES": str(self.root / "notes")}
        env.update(changes.pop("env", {}))
        given: dict[str, Any] = {
            "name": name, "argv": (name,), "parent": "p", "target": target and f"supervised:{target}",
            "env": env, "log": str(self.root / "log" / f"{name}.log"),
        }  # fmt: skip
        return Service(**{**given, **changes})

    def program(self, name: str, target: str = "serve", **changes: Any) -> Service:
        """Return a service that is executed as a program."""
        changes.setdefault("argv", (sys.executable, str(TESTS / "supervised.py"), target))
        service = self.service(name, target="", parent=None, **changes)
        return dataclasses.replace(service, env={**self.env, **service.env})

    @property
    def gate(self) -> dict[str, str]:
        return {"GATE": str(self.root / "gate")}

    def open_gate(self) -> None:
        (self.root / "gate").touch()

    # What is seen of them

    def state(self, name: str) -> dict[str, Any]:
        return self.client.services()[name]

    def in_state(self, name: str, state: str) -> dict[str, Any]:
        def seen() -> dict[str, Any] | None:
            found = self.client.services().get(name)
            return found if found and found["state"] == state else None

        return dict(eventually(seen, f"{name} {state}"))

    def report(self, name: str, *, after: int = 0) -> dict[str, Any]:
        """Return what a service says of itself, once it is another process than ``after``."""

        def told() -> dict[str, Any] | None:
            with contextlib.suppress(FileNotFoundError):
                report: dict[str, Any] = json.loads((self.root / f"{name}.report").read_text())
                if report["pid"] != after and lives(report["pid"]):
                    return report
            return None

        return dict(eventually(told, f"a report of {name}"))

    def notes(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return (self.root / "notes").read_text().splitlines()
        return []

    def clean(self) -> None:
        """End every process that was started here, by its pid."""
        self.sessions.update(self.supervisors())
        for line in self.notes():
            if line.startswith("daemon "):
                self.detached.add(int(line.split()[1]))
        # Supervisors first: they would start again what is killed here.
        for pid in [*self.supervisors(), *self.detached]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not self.supervisors(), "the supervisors' end")
        while left := in_sessions(self.sessions):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        shutil.rmtree(self.root)


@pytest.fixture
def place() -> Iterator[Place]:
    # Not tmp_path: a Unix socket's path may have 107 bytes.
    place = Place(Path(tempfile.mkdtemp(prefix="supervisor-")))
    try:
        yield place
    finally:
        place.clean()


# What a service is given


def test_a_forked_service_shares_what_its_parent_imported(place: Place) -> None:
    one, two = place.service("one"), place.service("two")
    place.up(one, two)
    first, second = place.report("one"), place.report("two")
    assert first["pid"] != second["pid"]
    assert first["loaded_by"] == second["loaded_by"] not in (first["pid"], second["pid"])


def test_a_forked_service_sees_its_own_surroundings(place: Place) -> None:
    service = place.service("one", argv=("one", "--verbose"), cwd=str(place.root), umask=0o077)
    place.up(service)
    report = place.report("one")
    assert report["argv"] == ["one", "--verbose"]
    assert report["env"] == dict(service.env)
    assert (report["cwd"], report["umask"]) == (str(place.root), 0o077)
    assert report["group"] == report["pid"] == place.state("one")["pid"]
    assert report["descriptors"] == [0, 1, 2]
    assert report["blocked"] == []
    # As in an interpreter of its own: a closed connection is an error, not the end.
    assert report["ignored"] == [signal.SIGPIPE, signal.SIGXFSZ]


def test_a_program_sees_its_own_surroundings(place: Place) -> None:
    service = place.program("one", cwd=str(place.root), umask=0o077)
    place.up(service)
    report = place.report("one")
    assert report["env"].items() >= service.env.items()
    assert "HOME" not in report["env"]
    assert (report["cwd"], report["umask"]) == (str(place.root), 0o077)
    assert report["group"] == report["pid"] == report["loaded_by"] == place.state("one")["pid"]
    assert report["descriptors"] == [0, 1, 2]
    assert report["blocked"] == []
    # These the interpreter ignores itself: seen from outside, nothing was inherited as ignored.
    assert report["ignored"] == [signal.SIGPIPE, signal.SIGXFSZ]
    shell = place.program("shell", argv=("/bin/sh", "-c", "cat /proc/self/status > $REPORT.new; exec sleep 999"))
    place.define(service, shell)
    place.start(shell)
    status = eventually(lambda: _field(place.root / "shell.report.new", "SigIgn"), "the shell's signals")
    assert int(status, 16) == 0


def _field(path: Path, name: str) -> str | None:
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return line.split()[1]
    return None


def test_parents_hold_no_descriptors_of_others(place: Place) -> None:
    place.up(place.service("one"), place.program("two"))
    parent = place.report("one")["loaded_by"]
    held = sorted(os.listdir(f"/proc/{parent}/fd"))
    assert len(held) == 4, "standard streams and its channel"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_a_service_drops_to_its_user(place: Place) -> None:
    nobody = pwd.getpwnam("nobody")
    place.root.chmod(0o777)
    place.up(place.service("one", user="nobody"))
    pid = place.report("one")["pid"]
    status = Path(f"/proc/{pid}/status")
    fields = {line.partition(":")[0]: line.split()[1:] for line in status.read_text().splitlines()}
    assert fields["Uid"] == [str(nobody.pw_uid)] * 4
    assert fields["Gid"] == [str(nobody.pw_gid)] * 4
    assert fields["Groups"] == [str(group) for group in os.getgrouplist("nobody", nobody.pw_gid)]
    assert fields["NoNewPrivs"] == ["1"]


# Endings and returns


def test_a_killed_service_returns_and_waits_longer_each_time(place: Place) -> None:
    def restarted(count: int) -> bool:
        return int(place.state("one")["restarts"]) == count

    service = place.service("one")
    place.up(service)
    pid = 0
    for count in range(1, 4):
        pid = place.report("one", after=pid)["pid"]
        kill(pid)
        eventually(partial(restarted, count), f"restart {count}")
        state = place.state("one")
        assert state["failures"] == count
        assert state["last_exit"] == "killed by SIGKILL"
    assert state["state"] == "backoff", "the third time it does not start at once"
    place.start(service)
    assert place.in_state("one", "running")["failures"] == 0, "who asks for it need not wait"


def test_who_asks_for_a_running_service_is_not_told_of_earlier_failures(place: Place) -> None:
    service = place.service("one")
    place.up(service)
    pid = 0
    for _ in range(2):
        pid = place.report("one", after=pid)["pid"]
        kill(pid)
    pid = place.report("one", after=pid)["pid"]
    assert place.in_state("one", "running")["failures"] == 2
    place.start(service)
    assert (place.state("one")["failures"], place.state("one")["pid"]) == (0, pid)


def test_a_service_that_will_not_start_is_told_with_its_last_words(place: Place) -> None:
    service = place.service("one", "crash")
    place.up(service)
    eventually(lambda: place.state("one")["failures"] >= 2, "two failures")
    assert place.state("one")["last_exit"] == "exit status 1"
    assert "no such luck" in logs.last_lines(Path(service.log), 5)
    eventually(lambda: place.state("one")["state"] == "backoff", "a pause")
    place.stop(service)
    runs = len(place.notes())
    assert place.in_state("one", "stopped")["failures"] == 0
    assert len(place.notes()) == runs


def test_services_stop_by_tiers(place: Place) -> None:
    tiers = {"a": 0, "b": 2, "c": 1, "d": 2}
    services = [place.service(name, "serve_slow_to_end", tier=tier) for name, tier in tiers.items()]
    supervisor = place.up(*services)
    for service in services:
        place.report(service.name)
    place.client.ask("shutdown")
    eventually(lambda: not lives(supervisor), "the supervisor's end")
    notes = place.notes()
    assert sorted(notes[:4]) == ["asked b", "asked d", "ended b", "ended d"]
    assert notes[4:] == ["asked c", "ended c", "asked a", "ended a"]
    assert not (place.root / "run" / "control.sock").exists()
    assert not list((place.root / "run" / "services").iterdir())
    eventually(lambda: not in_sessions(place.sessions), "the end of everything")


def test_sigterm_shuts_down_as_a_request_does(place: Place) -> None:
    supervisor = place.up(place.service("one"), place.program("two"))
    place.report("one")
    place.report("two")
    os.kill(supervisor, signal.SIGTERM)
    eventually(lambda: not lives(supervisor), "the supervisor's end")
    eventually(lambda: not in_sessions(place.sessions), "the end of everything")


def test_a_service_that_will_not_end_is_killed(place: Place) -> None:
    service = place.service("one", "serve_deaf", stop_timeout=0.2)
    place.up(service)
    pid = place.report("one")["pid"]
    place.stop(service)
    assert place.in_state("one", "stopped")["last_exit"] == "killed by SIGKILL"
    assert not lives(pid)


def test_started_again_while_it_stops(place: Place) -> None:
    service = place.service("one", "serve_slow_to_end", env=place.gate)
    place.up(service)
    pid = place.report("one")["pid"]
    place.stop(service)
    eventually(lambda: place.notes() == ["asked one"], "that it is asked")
    place.start(service)
    assert place.state("one")["state"] == "stopping"
    place.open_gate()
    assert place.report("one", after=pid)["pid"] == place.in_state("one", "running")["pid"]
    assert place.state("one")["failures"] == 0


@pytest.mark.parametrize("how", ["killed", "stopped", "adopted", "unwatched"])
def test_workers_do_not_outlive_their_master(place: Place, how: str) -> None:
    service = place.service("one", "serve_with_workers")
    place.up(service)
    master = place.report("one")["pid"]
    workers = [int(line.split()[1]) for line in place.notes() if line.startswith("worker")]
    daemon = next(int(line.split()[1]) for line in place.notes() if line.startswith("daemon"))
    assert len(workers) == 2 and all(lives(pid) for pid in (*workers, daemon))
    if how in ("adopted", "unwatched"):
        place.kill_supervisor()
    if how == "adopted":
        place.up()
        assert place.state("one")["pid"] == master
    if how == "stopped":
        place.stop(service)
    else:
        kill(master)
    if how == "unwatched":
        place.up()
        place.start(service)
    if how == "stopped":
        place.in_state("one", "stopped")
        eventually(lambda: not any(lives(pid) for pid in workers), "the workers' end")
    else:
        assert place.report("one", after=master)["pid"] != master
        assert not any(lives(pid) for pid in workers), "they ended before it was started again"
    assert lives(daemon), "what left the group goes on"


# Definitions


def test_a_changed_spec_replaces_only_that_service(place: Place) -> None:
    one, two = place.service("one"), place.service("two")
    place.up(one, two)
    first, second = place.report("one")["pid"], place.report("two")["pid"]
    changed = place.service("two", env={"COLOUR": "green"})
    place.define(one, changed)
    after = place.report("two", after=second)
    assert after["env"]["COLOUR"] == "green"
    assert place.in_state("two", "running")["pid"] == after["pid"]
    assert place.state("two")["restarts"] == 0
    assert place.state("one")["pid"] == first
    assert not lives(second)


def test_a_service_no_longer_described_ends_and_is_forgotten(place: Place) -> None:
    one, two = place.service("one"), place.service("two", "serve_slow_to_end", env=place.gate)
    place.up(one, two)
    pid = place.report("two")["pid"]
    place.define(one)
    assert place.state("two")["state"] == "stopping"
    with pytest.raises(SupervisorError, match="nothing is named 'two'"):
        place.start(two)
    place.open_gate()
    eventually(lambda: "two" not in place.client.services(), "that it is forgotten")
    assert not lives(pid)


def test_a_changed_base_makes_its_parents_anew(place: Place) -> None:
    service = place.service("one")
    place.up(service)
    before = place.report("one")
    place.parents[0] = dataclasses.replace(place.parents[0], env={**place.env, "NEW": "1"})
    place.define(service)
    eventually(lambda: not lives(before["loaded_by"]), "the old parent's end")
    assert place.state("one")["pid"] == before["pid"]
    kill(before["pid"])
    assert place.report("one", after=before["pid"])["loaded_by"] != before["loaded_by"]


def test_changes_while_a_service_waits_for_its_parent(place: Place) -> None:
    place.parents.append(Parent("slow", ("supervised_slow",), (), None, sys.executable, {**place.env, **place.gate}))
    one, two, three = (place.service(name, parent="slow") for name in ("one", "two", "three"))
    place.up(one, two, three)
    assert {place.state(name)["state"] for name in ("one", "two", "three")} == {"waiting"}
    place.stop(one)
    assert place.state("one")["state"] == "stopped"
    place.define(one, dataclasses.replace(two, argv=("two", "changed")), dataclasses.replace(three, parent="p"))
    place.report("three")
    place.open_gate()
    assert place.report("two")["argv"] == ["two", "changed"]
    assert place.state("one")["state"] == "stopped"
    place.start(one)
    place.report("one")


def test_shut_down_while_services_wait(place: Place) -> None:
    place.parents.append(Parent("slow", ("supervised_slow",), (), None, sys.executable, {**place.env, **place.gate}))
    supervisor = place.up(place.service("one", parent="slow"), place.service("two"))
    place.report("two")
    place.client.ask("shutdown")
    eventually(lambda: not lives(supervisor), "the supervisor's end")
    place.open_gate()
    eventually(lambda: not in_sessions(place.sessions), "the end of everything")


# Parents


def test_a_killed_parent_leaves_its_services_and_is_made_again(place: Place) -> None:
    service = place.service("one")
    place.up(service)
    before = place.report("one")
    kill(before["loaded_by"])
    eventually(lambda: place.client.ask("status")["parents"]["p"]["state"] == "absent", "that it is missed")
    assert place.state("one")["pid"] == before["pid"] and lives(before["pid"])
    kill(before["pid"])
    after = place.report("one", after=before["pid"])
    assert after["loaded_by"] != before["loaded_by"]
    assert place.in_state("one", "running")["restarts"] == 1


def test_a_parent_that_dies_while_it_should_fork(place: Place) -> None:
    one, two = place.service("one"), place.service("two")
    place.up(one)
    parent = place.report("one")["loaded_by"]
    place.define(one, two)
    os.kill(parent, signal.SIGSTOP)
    place.start(two)
    assert place.state("two")["state"] == "starting"
    kill(parent)
    assert place.report("two")["loaded_by"] != parent
    assert place.in_state("two", "running")["failures"] == 0


def test_stopped_and_started_again_before_it_was_forked(place: Place) -> None:
    one, two = place.service("one"), place.service("two")
    place.up(one)
    parent = place.report("one")["loaded_by"]
    place.define(one, two)
    os.kill(parent, signal.SIGSTOP)
    place.start(two)
    place.stop(two)
    assert place.state("two")["state"] == "stopped"
    place.start(two)
    os.kill(parent, signal.SIGCONT)
    pid = place.report("two")["pid"]
    assert place.in_state("two", "running")["pid"] == pid, "what the first request forked ended itself"
    # The supervisor, the root of its parents, the parent p (in the root's group) and two services.
    eventually(lambda: len(in_sessions(place.sessions)) == 5, "that nothing else is left")


@pytest.mark.parametrize(
    ("parent", "why"),
    [
        (Parent("bad", ("no_such_module",), (), "base"), "No module named 'no_such_module'"),
        (Parent("bad", ("sqlite3",), ("sqlite3",), "base"), "kept out of this process"),
        (Parent("bad", (), (), None, "/nonexistent/python"), "it ended while it loaded"),
        (Parent("bad", (), (), None, sys.executable, {"PYTHONPATH": "/nonexistent"}), "it ended while it loaded"),
    ],
)
def test_a_parent_that_cannot_load_is_told(place: Place, parent: Parent, why: str) -> None:
    place.parents.append(parent)
    service = place.service("one", parent="bad")
    place.up(service)
    assert why in place.in_state("one", "backoff")["last_exit"]
    with pytest.raises(TaskFailed, match="its parent failed"):
        place.client.run_task(place.service("task", parent="bad"), LIMIT)
    place.stop(service)
    assert place.state("one")["state"] == "stopped"


def test_a_retired_parent_leaves_and_returns_when_needed(place: Place) -> None:
    service = place.service("one")
    place.up(service)
    before = place.report("one")
    place.client.ask("retire", names=["p"])
    eventually(lambda: not lives(before["loaded_by"]), "the parent's end")
    kill(before["pid"])
    assert place.report("one", after=before["pid"])["loaded_by"] != before["loaded_by"]


# Tasks


def test_tasks_end_well_or_say_why_not(place: Place) -> None:
    place.up()
    place.define()
    place.open_gate()
    place.client.run_task(place.service("good", "work", env=place.gate), LIMIT)
    assert place.notes() == ["began"]
    assert place.client.services() == {}, "tasks are not services"
    with pytest.raises(TaskFailed, match="bad: exit status 1: no such luck"):
        place.client.run_task(place.service("bad", "crash"), LIMIT)
    with pytest.raises(TaskFailed, match="RuntimeError: it cannot be") as caught:
        place.client.run_task(place.service("worse", "raise_error"), LIMIT)
    assert any("Traceback" in line for line in caught.value.last_words)
    with pytest.raises(TaskFailed, match="exit status 3"):
        place.client.run_task(place.program("program", argv=("/bin/sh", "-c", "exit 3")), LIMIT)
    with pytest.raises(TaskFailed, match="No such file"):
        place.client.run_task(place.program("missing", argv=("/nonexistent/program",)), LIMIT)


def test_a_task_is_joined_by_who_asks_again(place: Place) -> None:
    place.up()
    place.define()
    task = place.service("task", "work", env=place.gate)
    with pytest.raises(TaskFailed, match="not finished after 0 s"):
        place.client.run_task(task, 0)
    with pytest.raises(SupervisorError, match="another task named task is running"):
        place.client.run_task(dataclasses.replace(task, argv=("other",)), LIMIT)
    eventually(place.notes, "its beginning")
    # While it runs: asked for after its end, it would run anew.
    with pytest.raises(TaskFailed, match="not finished after 0 s"):
        place.client.run_task(task, 0)
    place.open_gate()
    eventually(lambda: place.client.ask("task-status", name=task.name)["state"] == "done", "its end")
    assert place.notes() == ["began"]


def test_a_task_left_by_a_killed_supervisor_is_run_again(place: Place) -> None:
    place.up()
    place.define()
    task = place.service("task", "work", env=place.gate)
    place.client.ask("task", service=to_json(task))
    eventually(place.notes, "its beginning")
    place.kill_supervisor()
    place.up()
    place.client.ask("task", service=to_json(task))
    eventually(lambda: len(place.notes()) == 2, "its second beginning")
    place.open_gate()
    place.client.run_task(task, LIMIT)
    assert place.notes() == ["began", "began"]


# Supervisors that come and go


def test_services_outlive_the_supervisor_and_are_adopted(place: Place) -> None:
    forked, program, spare = place.service("one"), place.program("two"), place.service("three")
    first = place.up(forked, program)
    place.define(forked, program, spare)
    before = {name: place.report(name)["pid"] for name in ("one", "two")}
    parent = place.report("one")["loaded_by"]
    place.kill_supervisor()
    eventually(lambda: not lives(parent), "the parent's end")
    assert all(lives(pid) for pid in before.values())

    assert place.up() != first
    assert {name: place.state(name)["pid"] for name in before} == before
    assert place.state("three")["state"] == "stopped"
    place.define(forked, program, spare)
    assert {name: place.state(name)["pid"] for name in before} == before, "the same description changes nothing"
    for name, pid in before.items():
        kill(pid)
        place.report(name, after=pid)
    kill(place.in_state("one", "running")["pid"])
    eventually(lambda: place.state("one")["restarts"] == 2, "a second restart")
    place.in_state("one", "running")
    place.client.ask("shutdown")
    eventually(lambda: not in_sessions(place.sessions), "the end of everything")


def test_adopted_services_stop(place: Place) -> None:
    polite, deaf = place.service("one"), place.service("two", "serve_deaf", stop_timeout=0.2)
    place.up(polite, deaf)
    pids = [place.report(name)["pid"] for name in ("one", "two")]
    place.kill_supervisor()
    place.up()
    place.stop(polite, deaf)
    place.in_state("one", "stopped")
    place.in_state("two", "stopped")
    assert not any(lives(pid) for pid in pids)


def test_a_damaged_description_loses_nothing_that_runs(place: Place) -> None:
    service = place.service("one")
    place.up(service)
    pid = place.report("one")["pid"]
    place.kill_supervisor()
    specs = place.root / "run" / "services.json"
    specs.write_text(specs.read_text()[:-40])
    (place.root / "run" / "services" / "two.json").write_text("{")
    place.up()
    assert place.state("one")["pid"] == pid
    assert not (place.root / "run" / "services" / "two.json").exists()
    place.define(service)
    assert place.state("one")["pid"] == pid
    assert json.loads(specs.read_text())["services"][0]["name"] == "one"


def test_a_number_used_again_is_not_taken_for_the_service(place: Place) -> None:
    service = place.service("one")
    place.up(service)
    place.report("one")
    record = place.root / "run" / "services" / "one.json"
    data = json.loads(record.read_text())
    place.kill_supervisor()
    with subprocess.Popen(["sleep", "999"], process_group=0) as stranger:
        try:
            record.write_text(json.dumps({**data, "pid": stranger.pid}))
            place.up()
            assert place.state("one")["state"] == "stopped"
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_one_root_has_one_supervisor(place: Place) -> None:
    first = place.up()
    words = subprocess.run(
        [sys.executable, "-m", "beastack.supervisor.daemon", str(place.root), "1000", "1"],
        env=place.env, capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert (words.returncode, words.stderr) == (1, "another supervisor runs this site\n")
    assert place.pid() == first


def test_without_a_supervisor_the_client_says_so(place: Place) -> None:
    assert not place.client.running()
    with pytest.raises(SupervisorError, match="does not answer"):
        place.client.services()
    with pytest.raises(SupervisorError, match="did not start"):
        place.client.start_supervisor(sys.executable, {"PYTHONPATH": "/nonexistent"}, 1000, 1)


def test_logs_are_rotated_while_services_write(place: Place) -> None:
    loop = "while :; do echo line; sleep 0.02; done"
    service = place.program("one", argv=("/bin/sh", "-c", loop))
    place.up(service)
    log = Path(service.log)
    eventually(lambda: log.exists() and log.stat().st_size, "a first line")
    for _ in range(3):  # a supervisor looks at the logs as soon as it runs
        place.kill_supervisor()
        with log.open("a") as stream:
            stream.write("x" * 100_000 + "\n")
        place.up(max_bytes=50_000)
        eventually(lambda: log.stat().st_size < 50_000, "the rotation")
    eventually(lambda: logs.last_lines(log, 1) == ["line"], "more lines")
    assert b"\0" not in log.read_bytes(), "it goes on at the start of the file"
    assert sorted(file.name for file in log.parent.glob("one.log*")) == ["one.log", "one.log.1", "one.log.2"]


# Requests


def raw(place: Place, data: bytes) -> bytes:
    """Send bytes as they are; return what comes back until the other end closes, or one line."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(LIMIT)
        connection.connect(str(place.client.path))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
            with connection.makefile("rb") as stream:
                return bytes(stream.readline())
    return b""


def test_malformed_requests_get_an_error_and_do_no_harm(place: Place) -> None:
    service = place.service("one")
    supervisor = place.up(service)
    pid = place.report("one")["pid"]
    good = to_json(service)
    lost = {"name": "h", "parent": "p", "target": "t", "log": "l"}
    requests: list[Any] = [
        [], "x", 5, None, {}, {"op": 5}, {"op": "explode"}, {"op": ["status"]}, {"op": "start"},
        {"op": "start", "names": "one"}, {"op": "start", "names": ["two"]}, {"op": "stop", "names": [["one"]]},
        {"op": "preload", "names": ["nobody"]}, {"op": "retire", "names": {}},
        {"op": "task-status", "name": "one"}, {"op": "task-status", "name": []}, {"op": "task"},
        {"op": "task", "service": {}}, {"op": "task", "service": good},
        {"op": "task", "service": {**good, "name": "two", "parent": "nobody"}},
        {"op": "define", "services": [{}], "parents": [], "helpers": []},
        {"op": "define", "services": 3, "parents": [], "helpers": []},
        {"op": "define", "services": [good], "parents": [], "helpers": []},
        {"op": "define", "services": [], "parents": [{"name": "a", "base": "a"}], "helpers": []},
        {"op": "define", "services": [], "parents": [{"name": "a"}], "helpers": []},
        {"op": "define", "services": [], "parents": [], "helpers": [lost]},
    ]  # fmt: skip
    lines = [json.dumps(item).encode() for item in requests]
    lines += [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"op": "status"} x']
    for line in lines:
        answer = json.loads(raw(place, line + b"\n"))
        assert set(answer) == {"error"}, line
    assert place.pid() == supervisor
    assert place.state("one")["pid"] == pid


def test_rude_clients_do_no_harm(place: Place) -> None:
    supervisor = place.up(place.service("one"))
    assert raw(place, b"x" * (5 << 20)) in (b"", b'{"error": "a request may have 4194304 bytes"}\n')
    half = socket.socket(socket.AF_UNIX)
    half.connect(str(place.client.path))
    half.sendall(b'{"op": "sta')
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(str(place.client.path))
        deaf.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(20_000):
                deaf.send(b'{"op": "status"}\n')
        assert place.pid() == supervisor, "who does not read is hung up on"
    half.sendall(b'tus"}\n')
    with half.makefile() as stream:
        assert json.loads(stream.readline())["pid"] == supervisor, "a request may come in pieces"
    half.close()
    two = raw(place, b'{"op": "nothing"}\n{"op": "status"}\n')
    assert "error" in json.loads(two)
    assert place.pid() == supervisor


def test_the_control_socket_is_for_its_owner_alone(place: Place) -> None:
    place.up()
    assert place.client.path.stat().st_mode & 0o777 == 0o600
    assert (place.root / "run" / "services.json").exists() is False
    place.define(place.service("one"))
    assert (place.root / "run" / "services.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_the_supervisor_answers_nobody_else(place: Place) -> None:
    place.up()
    for directory in (place.root, place.root / "run"):
        directory.chmod(0o711)
    assert as_nobody(place.client.path) == b"PermissionError"
    place.client.path.chmod(0o666)  # were the socket's mode ever lost, its peer's credentials still decide
    assert as_nobody(place.client.path) == b"nothing"
    assert place.client.running()


def as_nobody(path: Path) -> bytes:
    """Return what a status request by an unprivileged user comes to."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            child.drop_privileges("nobody")
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(LIMIT)
                    connection.connect(str(path))
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        connection.sendall(b'{"op": "status"}\n')
                        os.write(write, connection.recv(100))
                    os.write(write, b"nothing")
            except OSError as error:
                os.write(write, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        answer = stream.read()
    os.waitpid(pid, 0)
    return answer


def test_privileged_helpers_come_from_a_closed_list(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = str(place.root / "log" / "helper.log")
    env = {"COLOUR": "red", "REPORT": str(place.root / "helper.report")}
    me = pwd.getpwuid(os.geteuid()).pw_name
    place.helpers = [
        Helper("known", "p", "supervised:serve_helper", env, log, (me,)),
        Helper("foreign", "p", "supervised:serve_helper", env, log, ("daemon",)),
        Helper("broken", "q", "supervised:serve_helper", env, log, (me,)),
    ]
    place.parents.append(Parent("q", ("no_such_module",), (), "base"))
    place.up()
    place.define()
    path = str(place.root / "helper.sock")

    def ask(name: str) -> int:
        arguments = ["--config-file", "/etc/shadow", "--privsep_context", name, "--privsep_sock_path", path]
        monkeypatch.setattr(sys, "argv", ["request.py", str(place.root / "run" / "privileged.sock"), *arguments])
        return request.main()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(8)
        for name, why in {
            "unknown": "no privileged helper is named 'unknown'",
            "foreign": f"foreign is not for uid {os.geteuid()}",
            "broken": "no_such_module",
        }.items():
            assert ask(name) == 1
            assert why in capsys.readouterr().err
            assert listener.accept()[0].recv(1) == b"", "it is told at once, not left to wait"
        assert ask("known") == 0
        service, _ = listener.accept()
        assert service.recv(5) == b"hello"
        report = place.report("helper")
        assert report["argv"] == ["known"], "nothing of what the asker said but the name"
        assert report["env"] == env
        assert report["descriptors"] == [0, 1, 2, 3]
        assert place.client.services() == {}, "they come and go with who asks for them"
        kill(report["pid"])
        assert service.recv(1) == b""
        eventually(lambda: not list((place.root / "run" / "services").iterdir()), "that its record is dropped")
        assert ask("known") == 0
        assert place.report("helper", after=report["pid"])["pid"] != report["pid"]


# Processes


def test_a_process_is_known_by_its_start() -> None:
    assert process.start_time(os.getpid()) == process.start_time(os.getpid())
    assert process.is_same(os.getpid(), process.start_time(os.getpid()))
    assert not process.is_same(os.getpid(), "1@another boot")
    assert not process.is_same(os.getpid(), None)


def test_a_zombie_counts_as_gone() -> None:
    with subprocess.Popen(["true"]) as ended:
        # Waits without reaping: the zombie stays until the end of the block.
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert process.start_time(ended.pid) is None
        assert not process.send_signal(ended.pid, "1", signal.SIGTERM)
    assert process.start_time(ended.pid) is None


def test_a_process_with_an_odd_name_is_read_right(tmp_path: Path) -> None:
    odd = tmp_path / "a) R 1 (\xe9"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", odd)
    with subprocess.Popen([odd, "999"]) as sleeper:
        try:
            started = process.start_time(sleeper.pid)
            assert started is not None
            assert process.send_signal(sleeper.pid, started, signal.SIGKILL)
        finally:
            sleeper.kill()
    assert not process.send_signal(sleeper.pid, started, signal.SIGKILL)


def test_only_the_group_in_its_session_ends() -> None:
    with subprocess.Popen(["sleep", "999"], process_group=0) as sleeper:
        try:
            assert not process.end_group(sleeper.pid, os.getsid(0) + 1)
            assert sleeper.poll() is None
            assert process.end_group(sleeper.pid, os.getsid(0))
            assert sleeper.wait(LIMIT) == -signal.SIGKILL
        finally:
            sleeper.kill()
    assert not process.end_group(sleeper.pid, os.getsid(0))


# Specs


def test_specs_survive_their_journey() -> None:
    service = Service("a", ("x", "y"), "p", "m:f", {"A": "b"}, "nobody", "/tmp", 0o22, "/log", 3, 2, 1.5, "m:g")
    parent = Parent("p", ("m",), ("n",), "q", "/python", {"A": "b"})
    helper = Helper("h.x", "p", "m:f", {"A": "b"}, "/log", ("a", "b"), True, True)
    assert spec.service_from_json(json.loads(json.dumps(to_json(service)))) == service
    assert spec.parent_from_json(json.loads(json.dumps(to_json(parent)))) == parent
    assert spec.helper_from_json(json.loads(json.dumps(to_json(helper)))) == helper
    assert spec.service_from_json({"name": "a", "argv": ["x"], "log": "/log"}) == Service("a", ("x",), log="/log")


def test_a_digest_changes_with_the_service() -> None:
    service = Service("a", ("x",), log="/log")
    assert service.digest() == spec.service_from_json(to_json(service)).digest()
    changes: list[dict[str, Any]] = [{"argv": ("y",)}, {"env": {"A": ""}}, {"tier": 1}, {"user": "x"}, {"umask": 0}]
    for change in changes:
        assert dataclasses.replace(service, **change).digest() != service.digest()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"name": "../etc/passwd"}, "no service can be named"),
        ({"name": ""}, "no service can be named"),
        ({"name": 5}, "name of a service must be str"),
        ({"argv": "x"}, "argv of a service must be tuple"),
        ({"argv": ["x", 5]}, "argv of a service must be tuple"),
        ({"argv": ["x\0y"]}, "argv of a service must be tuple"),
        ({"argv": []}, "has no argv"),
        ({"log": ""}, "has no log"),
        ({"env": {"A=B": "c"}}, "env of a service must be Mapping"),
        ({"env": {"A": 1}}, "env of a service must be Mapping"),
        ({"tier": "1"}, "tier of a service must be int"),
        ({"tier": True}, "tier of a service must be int"),
        ({"stop_timeout": float("nan")}, "cannot be stopped that way"),
        ({"stop_signal": 0}, "cannot be stopped that way"),
        ({"umask": -1}, "no file mode"),
        ({"parent": "p"}, "has no target"),
        ({"colour": "red"}, "a service has no 'colour'"),
        ({"env": {"A": "x" * spec.LIMIT}}, "larger than"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        spec.service_from_json({"name": "a", "argv": ["x"], "log": "/log", **change})


def test_other_specs_are_refused_too() -> None:
    wrong: list[object] = [None, [], "x", {}]
    for data in wrong:
        with pytest.raises(ValueError, match="a parent must"):
            spec.parent_from_json(data)
    with pytest.raises(ValueError, match="has no log"):
        spec.helper_from_json({"name": "h", "parent": "p", "target": "m:f"})


# Logs


def test_rotation_keeps_as_many_as_it_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log" / "a.log"
    descriptor = logs.open_log(log)
    assert log.stat().st_mode & 0o777 == 0o640 & ~_umask()
    for number in range(5):
        os.write(descriptor, f"{number}".encode() * 10)
        assert not logs.rotate(log, 10, 3)
        os.write(descriptor, b"\n")
        assert logs.rotate(log, 10, 3)
    os.write(descriptor, b"new\n")
    os.close(descriptor)
    contents = {file.name: file.read_text().strip() for file in log.parent.iterdir()}
    assert contents == {"a.log": "new", "a.log.1": "4" * 10, "a.log.2": "3" * 10, "a.log.3": "2" * 10}


def test_rotation_without_keeping(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("x" * 20)
    assert logs.rotate(log, 10, 0)
    assert [file.name for file in tmp_path.iterdir()] == ["a.log"]
    assert log.stat().st_size == 0
    assert not logs.rotate(tmp_path / "missing.log", 10, 2)


def test_a_log_that_cannot_be_copied_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "a.log"
    log.write_text("x" * 20)
    (tmp_path / "a.log.1").write_text("older")

    def fail(source: Path, target: Path) -> None:
        target.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(OSError, match="No space"):
        logs.rotate(log, 10, 2)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a.log": "x" * 20, "a.log.1": "older"}


def test_last_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert logs.last_lines(log, 3) == []
    log.write_bytes(b"one\ntwo\n\xff\nfour")
    assert logs.last_lines(log, 2) == ["�", "four"]
    assert logs.last_lines(log, 9) == ["one", "two", "�", "four"]
    log.write_text("x" * 100 + "\nend\n")
    assert logs.last_lines(log, 9, limit=10) == ["xxxxx", "end"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
