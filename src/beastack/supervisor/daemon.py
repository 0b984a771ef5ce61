"""The supervisor: one small root process that owns the site's process tree.

One thread, one selector. It is asked over a Unix socket (JSON lines, one
answer to each request, never blocking on a service) and it acts on three
kinds of events: a child ended, a parent has something to say, a deadline
passed. Everything it must know after a crash is in ``run/``: the specs in
``services.json``, and one record for each process it started.

A service is the leader of a process group, which ends with it: workers that
outlive their master would hold its ports and queues. What makes itself a
daemon (dnsmasq, haproxy, qemu) leaves the group and is not touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import Any

from beastack.supervisor import logs, process
from beastack.supervisor.child import become_service
from beastack.supervisor.control import Control
from beastack.supervisor.door import Asker, Door, close_foreign
from beastack.supervisor.spec import (
    Helper,
    Parent,
    Service,
    helper_from_json,
    parent_from_json,
    service_from_json,
    to_json,
)
from beastack.supervisor.states import HELPER_PREFIX, Preloaded, Running, describe_exit
from beastack.supervisor.wire import Wire

BACKOFF_MAX = 30.0  # seconds between starts of a service that keeps ending
STEADY = 60.0  # seconds of life after which a service's start counts as a success
PARENT_LIMIT = 180.0  # seconds a parent may take to import what it preloads
FORK_LIMIT = 60.0  # seconds a parent may take to fork a service
ROTATE_EVERY = 10.0  # seconds between looks at the log files' sizes
HELPERS_PER_USER = 32  # daemons of one context that one user may have at once
ADOPTED_POLL = 0.5  # seconds between looks at processes that are not our children
REMAINS_POLL = 0.1  # seconds between looks at what a service left running


class Supervisor:
    """The process tree of one site. ``root`` is the site's state directory."""

    def __init__(self, root: Path, max_bytes: int, keep: int) -> None:
        self.run = root / "run"
        self.logs = root / "log"
        self.records = self.run / "services"
        self.max_bytes = max_bytes
        self.keep = keep
        self.services: dict[str, Running] = {}
        self.parents: dict[str, Preloaded] = {}
        self.helpers: dict[str, Helper] = {}
        self.helper_count = 0
        self.token = 0
        self.selector = selectors.DefaultSelector()
        self.control = Control(self.selector, self._answer)
        self.door = Door(self.selector, self._knows, self._start_helper, self._asker_left, self._say)
        self.told_to_leave = False  # set by a signal, acted upon in the loop
        self.leaving = False
        self.next_rotation = 0.0
        self.next_poll = 0.0

    # Life of the supervisor itself

    def serve(self) -> None:
        """Run until told to shut down. Takes over what an earlier supervisor left running."""
        self.records.mkdir(parents=True, exist_ok=True)
        process.become_reaper()
        wakeup_read, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._note_termination)
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(ignored, signal.SIG_IGN)
        self.selector.register(wakeup_read, selectors.EVENT_READ, lambda: self._drain(wakeup_read))
        self._restore()
        self.control.open(self.run / "control.sock")
        self.door.open(self.run / "privileged.sock")
        while not (self.leaving and not self._alive()):
            for key, _ in self.selector.select(self._next_deadline()):
                key.data()
            if self.told_to_leave and not self.leaving:
                self._shut_down()
            self._reap()
            self._tick(time.monotonic())
        for preloaded in self.parents.values():
            if preloaded.channel is not None:
                preloaded.channel.close()
        for name in ("control.sock", "privileged.sock"):
            with contextlib.suppress(FileNotFoundError):
                (self.run / name).unlink()
        self._say("the supervisor ends")

    def _note_termination(self, number: int, frame: object) -> None:
        # Signals come between any two operations, half-way through a change of state.
        self.told_to_leave = True

    def _drain(self, descriptor: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(descriptor, 512):
                pass

    def _restore(self) -> None:
        """Read what an earlier supervisor was told, and adopt what it left running."""
        saved = self.run / "services.json"
        try:
            data = json.loads(saved.read_bytes())
            self._define(data["services"], data["parents"], data["helpers"], save=False)
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            # What runs is known from the records; the rest comes with the next definition.
            damaged = saved.replace(saved.with_name("services.json.damaged"))
            self._say(f"{saved} cannot be used ({error!r}): moved to {damaged.name}")
        for record in sorted(self.records.glob("*.json")):
            try:
                data = json.loads(record.read_bytes())
                service, task = service_from_json(data["service"]), bool(data["task"])
                pid, started, session = int(data["pid"]), str(data["started"]), int(data["session"])
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                self._say(f"the record {record.name} is damaged ({error!r}): dropped")
                record.unlink()
                continue
            if service.name.startswith(HELPER_PREFIX):
                record.unlink()  # it ends with the service that asked for it
            elif process.is_same(pid, started):
                self._adopt(service, task, pid, started, session)
            else:
                record.unlink()
                if process.end_group(pid, session):
                    self._say(f"killed what {service.name} (pid {pid}) left running")

    def _adopt(self, service: Service, task: bool, pid: int, started: str, session: int) -> None:
        """Take over a process that an earlier supervisor started."""
        running = self.services.setdefault(service.name, Running(service, task=task))
        known, running.service = running.service, service
        running.pid, running.started, running.session, running.adopted = pid, started, session, True
        running.state, running.wanted, running.since = "running", True, time.monotonic()
        self._say(f"adopted {service.name} (pid {pid})")
        if task:
            # How it ends cannot be known any more: whoever wants it runs it again.
            running.wanted = False
            self._stop_one(running)
        elif known.digest() != service.digest():
            self._stop_one(running)
            running.service = known

    def _alive(self) -> bool:
        return any(running.pid or running.state in ("starting", "waiting") for running in self.services.values())

    def _shut_down(self) -> None:
        self.leaving = True
        self._say("the supervisor stops everything")
        for running in self.services.values():
            running.wanted = False
        self._stop_tiers()

    # Requests

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("a request is a mapping")
            return self._obey(request)
        except KeyError as error:
            return {"error": f"bad request: no {error}"}
        except (ValueError, TypeError) as error:
            return {"error": f"bad request: {error}"}
        except Exception as error:  # one bad request must not end the supervisor
            self._say(traceback.format_exc())
            return {"error": f"{type(error).__name__}: {error}"}

    def _obey(self, request: dict[str, Any]) -> dict[str, Any]:
        verbs: dict[str, Callable[[], Any]] = {
            "status": self._status,
            "define": lambda: self._define(request["services"], request["parents"], request["helpers"], save=True),
            "start": lambda: self._want(_names(request, self._described()), True),
            "stop": lambda: self._want(_names(request, self.services), False),
            "preload": lambda: self._preload(_names(request, self.parents)),
            "retire": lambda: self._retire(_names(request, self.parents)),
            "task": lambda: self._start_task(service_from_json(request["service"])),
            "task-status": lambda: self._task_status(request["name"]),
            "shutdown": self._shut_down,
        }
        op = request.get("op")
        if not isinstance(op, str) or op not in verbs:
            raise ValueError(f"unknown request {op!r}")
        if self.leaving and op in ("define", "start", "preload", "task"):
            raise ValueError("the supervisor is shutting down")
        answer = verbs[op]()
        return answer if isinstance(answer, dict) else {"ok": True}

    def _status(self) -> dict[str, Any]:
        now = time.monotonic()
        listing = []
        for name, running in self.services.items():
            if running.task:
                continue
            listing.append({
                "name": name, "state": running.state, "pid": running.pid or None,
                "user": running.service.user, "wanted": running.wanted, "tier": running.service.tier,
                "seconds": round(now - running.since, 1) if running.pid else None,
                "restarts": running.restarts, "failures": running.failures,
                "last_exit": running.last_exit, "log": running.service.log,
            })  # fmt: skip
        parents = {
            name: {"state": item.state, "why": item.why, "pid": item.pid if item.state == "ready" else None}
            for name, item in self.parents.items()
        }
        helpers = [
            {"name": running.service.argv[0], "pid": running.pid}
            for name, running in self.services.items()
            if name.startswith(HELPER_PREFIX) and running.pid
        ]
        return {
            "pid": os.getpid(),
            "code": os.environ.get("BEASTACK_CODE", ""),
            "services": listing,
            "parents": parents,
            "helpers": helpers,
            "tasks": [
                name
                for name, running in self.services.items()
                if running.task and running.state != "done" and not name.startswith(HELPER_PREFIX)
            ],
            "leaving": self.leaving,
        }

    def _define(
        self,
        services: list[dict[str, Any]],
        parents: list[dict[str, Any]],
        helpers: list[dict[str, Any]],
        *,
        save: bool,
    ) -> None:
        """Take a new set of specs; a running service whose spec changed is replaced.

        :raises ValueError: they cannot be run; nothing has changed then
        """
        told_helpers = {helper.name: helper for helper in map(helper_from_json, helpers)}
        told_parents = {parent.name: parent for parent in map(parent_from_json, parents)}
        told = {service.name: service for service in map(service_from_json, services)}
        self._check(told, told_parents, told_helpers)
        if save:
            text = json.dumps({"services": services, "parents": parents, "helpers": helpers})
            _write_private(self.run / "services.json", text)
        self.helpers = told_helpers
        self._define_parents(told_parents)
        for name, service in told.items():
            running = self.services.get(name)
            if running is None:
                self.services[name] = Running(service)
                continue
            running.forgotten = False
            if running.service.digest() == service.digest():
                continue
            if running.state == "running":
                self._stop_one(running)  # as its old spec says
            unborn = running.state in ("waiting", "starting")
            if unborn:
                self._abandon(running)
            running.service = service
            if unborn:
                self._start_one(running)
        for name, running in list(self.services.items()):
            if name not in told and not running.task:
                running.wanted, running.forgotten = False, True
                if running.state in ("waiting", "starting"):
                    self._abandon(running)
                if running.pid:
                    self._stop_one(running)
                else:
                    del self.services[name]

    def _check(self, services: dict[str, Service], parents: dict[str, Parent], helpers: dict[str, Helper]) -> None:
        """Refuse specs that do not fit together."""
        for name, service in services.items():
            if name.startswith(HELPER_PREFIX) or (name in self.services and self.services[name].task):
                raise ValueError(f"{name} is the name of a task")
            if service.parent is not None and service.parent not in parents:
                raise ValueError(f"{name} has no parent {service.parent}")
        for helper in helpers.values():
            if helper.parent not in parents:
                raise ValueError(f"{helper.name} has no parent {helper.parent}")
        for parent in parents.values():
            base, seen = parent, {parent.name}
            while base.base is not None:
                if base.base not in parents or base.base in seen:
                    raise ValueError(f"the parent {base.name} cannot be based on {base.base}")
                base = parents[base.base]
                seen.add(base.name)
            if not base.python:
                raise ValueError(f"the parent {base.name} has no interpreter")

    def _define_parents(self, parents: dict[str, Parent]) -> None:
        """Make parents anew that changed, or whose base did; end those that are no longer described."""

        def changed(parent: Parent) -> bool:
            known = self.parents.get(parent.name)
            if known is None or known.parent != parent:
                return True
            return parent.base is not None and changed(parents[parent.base])

        anew = {name: Preloaded(parent) for name, parent in parents.items() if changed(parent)}
        for name, known in list(self.parents.items()):
            if name in anew or name not in parents:
                self._close_parent(known)
                if name in anew:
                    anew[name].queue = known.queue  # the loop loads a parent that is waited for
                    continue
                del self.parents[name]
                for waiting in known.queue:
                    self._fail_waiting(waiting, name, f"there is no parent {name} any more")
        self.parents.update(anew)

    def _described(self) -> set[str]:
        return {name for name, running in self.services.items() if not running.forgotten}

    def _want(self, names: Iterable[str], wanted: bool) -> None:
        for name in names:
            running = self.services[name]
            running.wanted = wanted
            if wanted:
                running.failures = 0  # who asks for it is told of those since then
                if running.state in ("stopped", "backoff"):
                    self._start_one(running)
        if not wanted:
            self._stop_tiers()

    def _start_task(self, service: Service) -> None:
        if service.parent is not None and service.parent not in self.parents:
            raise ValueError(f"{service.name} has no parent {service.parent}")
        known = self.services.get(service.name)
        if (known is not None and not known.task) or service.name.startswith(HELPER_PREFIX):
            raise ValueError(f"{service.name} is the name of a service")
        if known is not None and known.state == "stopping":
            # Left by an earlier supervisor: the new one begins when the old one has ended.
            known.service, known.wanted = service, True
            return
        if known is not None and known.state != "done":
            if known.service.digest() == service.digest():
                return  # whoever asked before was killed: the one who asks now waits for its end
            raise ValueError(f"another task named {service.name} is running")
        running = Running(service, wanted=True, task=True)
        self.services[service.name] = running
        self._start_one(running)

    def _knows(self, uid: int) -> bool:
        return any(uid in _uids(helper.peers) for helper in self.helpers.values())

    def _start_helper(self, asker: Asker, name: str) -> None:
        """Fork a privileged daemon from the closed list; it ends when its asker does.

        :raises ValueError: it is refused
        """
        if self.leaving:
            raise ValueError("the supervisor is shutting down")
        helper = self.helpers.get(name)
        if helper is None:
            raise ValueError(f"no privileged helper is named {name!r:.100}")
        uid = asker.peer.uid
        if uid not in _uids(helper.peers):
            raise ValueError(f"{name} is not for uid {uid}")
        mine = [r for r in self.services.values() if r.helper and r.asker_uid == uid and r.service.argv[0] == name]
        if len(mine) >= HELPERS_PER_USER:
            raise ValueError(f"uid {uid} has {len(mine)} of {name} already")
        self.helper_count += 1
        service = Service(
            name=f"{HELPER_PREFIX}{self.helper_count}", argv=(name,), parent=helper.parent, target=helper.target,
            env=helper.env, log=helper.log, umask=0o022, confined=True, new_privileges=helper.new_privileges,
            user=pwd.getpwuid(uid).pw_name if helper.as_asker else "root",
        )  # fmt: skip
        running = Running(service_from_json(to_json(service)), wanted=True, task=True, asker=asker, asker_uid=uid)
        running.connection = asker.take()
        self.services[service.name] = running
        self._start_one(running)

    def _asker_left(self, asker: Asker) -> None:
        """Take back the start of a daemon that nobody waits for any more."""
        for running in list(self.services.values()):
            if running.asker is asker:
                self._abandon(running)
                self._let_go(running, "its asker has left")
                del self.services[running.service.name]

    def _let_go(self, running: Running, error: str = "") -> None:
        """Tell a privileged daemon's asker how it went; the daemon alone holds their connection from here on."""
        connection, running.connection = running.connection, None
        asker, running.asker = running.asker, None
        if connection is not None and error:
            close_foreign(connection)
        elif connection is not None:
            connection.close()
        if asker is not None:
            self.door.answer(asker, error)

    def _task_status(self, name: str) -> dict[str, Any]:
        running = self.services.get(name)
        if running is None or not running.task:
            raise ValueError(f"there is no task {name!r}")
        if running.state == "done":
            del self.services[name]
        return {"state": running.state, "status": running.status, "why": running.last_exit}

    # Starting

    def _start_one(self, running: Running) -> None:
        if self.leaving:
            return
        if running.remains is not None:
            if process.end_group(*running.remains):
                running.state, running.retry_at = "backoff", time.monotonic() + REMAINS_POLL
                return
            running.remains = None
        if running.service.parent is None:
            self._spawn_program(running)
            return
        parent = self.parents.get(running.service.parent)
        if parent is None:
            self._failed_start(running, f"there is no parent {running.service.parent}")
            return
        running.state, running.since = "waiting", time.monotonic()
        if parent.state == "ready":
            self._ask_parent(parent, running)
        else:
            parent.queue.append(running.service.name)
            self._load_parent(parent.parent.name)

    def _spawn_program(self, running: Running) -> None:
        try:
            with Wire(running.service.log) as wire:
                # A signal for the supervisor must not reach its handler in the child.
                before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
                try:
                    pid = os.fork()
                    if pid == 0:
                        os.close(wire.go_write)
                        become_service(running.service, wire.log, wire.go_read)
                finally:
                    signal.pthread_sigmask(signal.SIG_SETMASK, before)
                running.go = wire.keep()
        except OSError as error:
            self._failed_start(running, f"it cannot be forked: {error}")
            return
        self._claim(running, pid)

    def _ask_parent(self, parent: Preloaded, running: Running) -> None:
        assert parent.channel is not None
        self.token += 1
        order = {"op": "spawn", "token": self.token, "service": to_json(running.service)}
        try:
            with Wire(running.service.log) as wire:
                try:
                    passed = [wire.log, wire.go_read]
                    if running.connection is not None:
                        passed.append(running.connection.fileno())
                    socket.send_fds(parent.channel, [json.dumps(order).encode()], passed)
                except BlockingIOError:
                    parent.queue.append(running.service.name)  # asked again when it has answered others
                    return
                except OSError:
                    parent.queue.append(running.service.name)
                    self._parent_gone(parent)
                    return
                running.go = wire.keep()
        except OSError as error:
            self._failed_start(running, f"it cannot be forked: {error}")
            return
        running.token, running.state = self.token, "starting"
        running.starting_until = time.monotonic() + FORK_LIMIT

    def _ask_for_waiting(self, parent: Preloaded) -> None:
        """Have a parent fork what waits for it."""
        waiting, parent.queue = parent.queue, []
        for name in waiting:
            running = self.services.get(name)
            if running is None or running.state != "waiting" or running.service.parent != parent.parent.name:
                continue  # it was stopped or described anew while it waited
            if parent.state == "ready":
                self._ask_parent(parent, running)
            else:
                parent.queue.append(name)

    def _abandon(self, running: Running) -> None:
        """Take back a start: a child that was forked for it, or will be, ends itself with its go pipe."""
        if running.go >= 0:
            os.close(running.go)
        running.go, running.token, running.state = -1, 0, "stopped"

    def _claim(self, running: Running, pid: int) -> None:
        """Record a process as the service's, then let it go on."""
        running.pid, running.started, running.adopted = pid, process.start_time(pid), False
        running.session = os.getsid(0)
        running.state, running.since = "running", time.monotonic()
        if running.started is None:
            self._abandon(running)
            running.state = "running"
            self._ended(running, None)
            return
        record = {
            "service": to_json(running.service), "task": running.task,
            "pid": pid, "started": running.started, "session": running.session,
        }  # fmt: skip
        try:
            _write_private(self._record(running), json.dumps(record))
        except OSError as error:
            # Unrecorded, it would run twice after the next supervisor has started.
            self._abandon(running)
            running.pid, running.started = 0, None
            self._failed_start(running, f"it cannot be recorded: {error}")
            return
        with contextlib.suppress(BrokenPipeError):
            os.write(running.go, b"g")
        os.close(running.go)
        running.go, running.token = -1, 0
        self._let_go(running)

    def _record(self, running: Running) -> Path:
        return self.records / f"{running.service.name}.json"

    # Parents

    def _preload(self, names: Iterable[str]) -> None:
        for name in names:
            self._load_parent(name)

    def _load_parent(self, name: str) -> None:
        parent = self.parents[name]
        if parent.state in ("loading", "ready"):
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        message = json.dumps({"op": "parent", "parent": to_json(parent.parent)}).encode()
        try:
            if parent.parent.base is None:
                self._start_interpreter(parent, theirs)
                ours.send(message)
            else:
                base = self.parents[parent.parent.base]
                self._load_parent(base.parent.name)
                if base.channel is None:
                    raise OSError(f"the parent {base.parent.name} failed: {base.why}")
                socket.send_fds(base.channel, [message], [theirs.fileno()])
        except OSError as error:
            ours.close()
            parent.why = str(error)
            self._parent_gone(parent)
            return
        finally:
            theirs.close()
        parent.channel, parent.state, parent.why = ours, "loading", ""
        parent.loading_until = time.monotonic() + PARENT_LIMIT
        self.selector.register(ours, selectors.EVENT_READ, lambda: self._hear(parent, ours))

    def _start_interpreter(self, parent: Preloaded, channel: socket.socket) -> None:
        log = logs.open_log(self.logs / "parents.log")
        os.set_inheritable(channel.fileno(), True)
        argv = [parent.parent.python, "-P", "-m", "beastack.supervisor.parent", str(channel.fileno())]
        try:
            pid = os.fork()
        except OSError:
            os.close(log)
            raise
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.setpgid(0, 0)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(log, 1)
                os.dup2(log, 2)
                os.execve(argv[0], argv, dict(parent.parent.env))
            finally:
                os._exit(127)
        os.close(log)

    def _hear(self, parent: Preloaded, channel: socket.socket) -> None:
        if channel is not parent.channel:
            return  # closed by another event of the same round
        try:
            data = channel.recv(1 << 17)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            if parent.state == "loading" and not parent.why:
                parent.why = f"it ended while it loaded (see {self.logs / 'parents.log'})"
            self._parent_gone(parent)
            return
        message = json.loads(data)
        if message["event"] == "ready":
            parent.state = "ready"
            parent.pid = int(message.get("pid", 0))
            self._ask_for_waiting(parent)
        elif message["event"] == "failed":
            parent.why = message["why"].strip()
        else:
            for running in list(self.services.values()):
                if running.state == "starting" and running.token == message["token"]:
                    if message["event"] == "spawned":
                        self._claim(running, message["pid"])
                    else:
                        self._abandon(running)
                        self._failed_start(running, f"it cannot be forked: {message['why']}")
            self._ask_for_waiting(parent)

    def _close_parent(self, parent: Preloaded) -> None:
        """Let a parent end; what it was asked for and has not answered waits again."""
        if parent.channel is not None:
            self.selector.unregister(parent.channel)
            parent.channel.close()
            parent.channel = None
        parent.state, parent.loading_until = "absent", 0.0
        for running in self.services.values():
            if running.service.parent == parent.parent.name and running.state == "starting":
                self._abandon(running)
                running.state = "waiting"
                parent.queue.append(running.service.name)

    def _parent_gone(self, parent: Preloaded) -> None:
        """Note the end of a parent; without a reason it is made again for what waits for it."""
        self._close_parent(parent)
        if not parent.why:
            return
        parent.state = "failed"
        self._say(f"the parent {parent.parent.name} failed: {parent.why}")
        waiting, parent.queue = parent.queue, []
        for name in waiting:
            self._fail_waiting(name, parent.parent.name, f"its parent failed: {parent.why.splitlines()[-1]}")

    def _fail_waiting(self, name: str, parent: str, why: str) -> None:
        running = self.services.get(name)
        if running is not None and running.state == "waiting" and running.service.parent == parent:
            self._failed_start(running, why)

    def _failed_start(self, running: Running, why: str) -> None:
        running.last_exit = why
        running.status = 1
        if running.helper:
            text = f"the privileged daemon {running.service.argv[0]} did not start: {why}"
            self._say(text)
            self._let_go(running, text)
            del self.services[running.service.name]
        elif running.task:
            running.state = "done"
        elif not running.wanted:
            running.state = "stopped"
        else:
            running.failures += 1
            running.state = "backoff"
            running.retry_at = time.monotonic() + min(BACKOFF_MAX, 2.0**running.failures)

    def _retire(self, names: Iterable[str]) -> None:
        """End parents that nothing waits for; they are made again when a service needs them."""
        unborn = {r.service.parent for r in self.services.values() if r.state in ("waiting", "starting")}
        for name in names:
            if self.parents[name].state == "ready" and name not in unborn:
                self._close_parent(self.parents[name])

    # Endings

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            # Others are parents, and orphans of services (a guest, a dnsmasq).
            for running in self.services.values():
                if running.pid == pid and not running.adopted:
                    self._ended(running, status)
                    break

    def _ended(self, running: Running, status: int | None) -> None:
        code = None if status is None else os.waitstatus_to_exitcode(status)
        lived = time.monotonic() - running.since
        if not running.helper:
            # A privileged daemon's group is not ours to end: it works for a service that may go on.
            running.remains = (running.pid, running.session)
            process.end_group(*running.remains)
        running.pid, running.started, running.adopted = 0, None, False
        running.status = code
        running.last_exit = describe_exit(code)
        with contextlib.suppress(FileNotFoundError):
            self._record(running).unlink()
        asked = running.state == "stopping" or not running.wanted
        if running.helper:
            self._let_go(running, f"the privileged daemon {running.service.argv[0]} ended at its start")
        if running.helper or (running.forgotten and not running.wanted):
            del self.services[running.service.name]
        elif asked and running.wanted:
            self._start_one(running)
        elif running.task:
            running.state = "done"
        elif asked:
            running.state = "stopped"
            running.failures = 0
        else:
            running.restarts += 1
            running.failures = 0 if lived >= STEADY else running.failures + 1
            delay = 0.0 if running.failures <= 1 else min(BACKOFF_MAX, 2.0 ** (running.failures - 2))
            running.state, running.retry_at = "backoff", time.monotonic() + delay
            text = f"{running.service.name} ended ({running.last_exit}) after {lived:.1f} s"
            self._say(f"{text}; starts again in {delay:g} s")
        self._stop_tiers()

    def _stop_one(self, running: Running) -> None:
        if running.state == "running":
            running.state = "stopping"
            running.kill_at = time.monotonic() + running.service.stop_timeout
            process.send_signal(running.pid, running.started, running.service.stop_signal)

    def _stop_tiers(self) -> None:
        """Stop what is not wanted, the highest tier first: lower tiers wait for it."""
        unwanted = [r for r in self.services.values() if not r.wanted and r.state != "done"]
        for running in unwanted:
            if running.state in ("backoff", "waiting", "starting"):
                self._abandon(running)
                self._let_go(running, "the supervisor stops everything")
                running.failures = 0
                if running.task:
                    running.state, running.status, running.last_exit = "done", 1, "stopped before it ran"
        alive = [r for r in unwanted if r.pid]
        if alive:
            highest = max(r.service.tier for r in alive)
            for running in alive:
                if running.service.tier == highest:
                    self._stop_one(running)

    # Time

    def _next_deadline(self) -> float:
        now = time.monotonic()
        times = [self.next_rotation, self.door.next_deadline()]
        for running in self.services.values():
            if running.state == "backoff":
                times.append(running.retry_at)
            elif running.state == "stopping":
                times.append(running.kill_at)
            elif running.state == "starting":
                times.append(running.starting_until)
            if running.adopted and running.pid:
                times.append(self.next_poll)
        for parent in self.parents.values():
            if parent.state == "loading" or (parent.queue and parent.state in ("absent", "failed")):
                times.append(parent.loading_until)
        return max(0.0, min(times) - now)

    def _tick(self, now: float) -> None:
        self.door.tick(now)
        for running in list(self.services.values()):
            if running.state == "backoff" and running.wanted and now >= running.retry_at:
                self._start_one(running)
            elif running.state == "stopping" and now >= running.kill_at:
                self._say(f"{running.service.name} did not end within {running.service.stop_timeout:g} s: killed")
                process.send_signal(running.pid, running.started, signal.SIGKILL)
                running.kill_at = now + 5.0
            elif running.state == "starting" and now >= running.starting_until:
                parent = self.parents[str(running.service.parent)]
                parent.why = f"it forked nothing for {FORK_LIMIT:g} s"
                self._parent_gone(parent)
            elif running.state == "running" and now - running.since >= STEADY:
                running.failures = 0
        if now >= self.next_poll:
            self.next_poll = now + ADOPTED_POLL
            for running in list(self.services.values()):
                if running.adopted and running.pid and not process.is_same(running.pid, running.started):
                    self._ended(running, None)
        for parent in list(self.parents.values()):
            if parent.state == "loading" and now >= parent.loading_until:
                parent.why = f"it did not finish its imports within {PARENT_LIMIT:g} s"
                self._parent_gone(parent)
            elif parent.queue and parent.state in ("absent", "failed") and now >= parent.loading_until:
                self._load_parent(parent.parent.name)
        if now >= self.next_rotation:
            self.next_rotation = now + ROTATE_EVERY
            files = {Path(running.service.log) for running in self.services.values()}
            for file in sorted(files | {self.logs / "parents.log", self.logs / "supervisor.log"}):
                try:
                    logs.rotate(file, self.max_bytes, self.keep)
                except OSError as error:
                    self._say(f"{file} cannot be rotated: {error}")

    def _say(self, text: str) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with contextlib.suppress(OSError):  # a full disk
            sys.stderr.write(f"{stamp} {text}\n")
            sys.stderr.flush()


def _names(request: dict[str, Any], known: Container[str]) -> list[str]:
    """Return the names in a request, each of which must be known.

    :raises ValueError: one is not
    """
    names = request["names"]
    if not isinstance(names, list):
        raise ValueError("names must be a list")
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise ValueError(f"nothing is named {name!r}")
    return names


def _uids(users: Iterable[str]) -> set[int]:
    """Return the ids of those users that there are."""
    found = set()
    for user in users:
        with contextlib.suppress(KeyError):
            found.add(pwd.getpwnam(user).pw_uid)
    return found


def _write_private(path: Path, text: str) -> None:
    """Write a file for root alone, whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    temporary.replace(path)


def main() -> int:
    """Run as ``python -m beastack.supervisor.daemon ROOT MAX_BYTES KEEP``, in the background."""
    root, max_bytes, keep = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    (root / "run").mkdir(parents=True, exist_ok=True)
    lock = os.open(root / "run" / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write("another supervisor runs this site\n")
        return 1
    os.umask(0o027)
    Supervisor(root, max_bytes, keep).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
