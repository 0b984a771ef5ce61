"""The other end of the supervisor's control socket, for the site tool."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beastack.supervisor import logs, process
from beastack.supervisor.spec import Helper, Parent, Service, to_json


class SupervisorError(Exception):
    """The supervisor cannot be reached, or refused a request."""


class TaskFailed(Exception):
    """A task ended badly; carries its name, how it ended and its last words."""

    def __init__(self, name: str, why: str, last_words: Sequence[str], log: str) -> None:
        self.name, self.why, self.last_words, self.log = name, why, tuple(last_words), log
        words = next((line.strip() for line in reversed(last_words) if line.strip()), "")
        super().__init__(f"{name}: {why}" + (f": {words}" if words else "") + f" (see {log})")


class Client:
    """Speaks to the supervisor of the site at ``root``. Each request has a connection of its own."""

    def __init__(self, root: Path) -> None:
        self.path = root / "run" / "control.sock"
        self.root = root

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """Send one request and return its answer.

        :raises SupervisorError: no supervisor answers, or it refused
        """
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(30)
                connection.connect(str(self.path))
                connection.sendall(json.dumps({"op": op, **arguments}).encode() + b"\n")
                with connection.makefile() as stream:
                    line = stream.readline()
        except OSError as error:
            raise SupervisorError(f"the supervisor does not answer ({error})") from error
        if not line.endswith("\n"):
            raise SupervisorError("the supervisor ended while it was asked")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SupervisorError(f"the supervisor refused: {answer['error']}")
        return answer

    def running(self) -> bool:
        """Return whether a supervisor answers."""
        try:
            self.ask("status")
        except SupervisorError:
            return False
        return True

    def start_supervisor(self, python: str, env: Mapping[str, str], max_bytes: int, keep: int) -> None:
        """Start the supervisor in the background and wait until it answers.

        :raises SupervisorError: it did not come up; its last words are in the message
        """
        log = self.root / "log" / "supervisor.log"
        descriptor = logs.open_log(log)
        try:
            started = subprocess.Popen(
                [python, "-P", "-m", "beastack.supervisor.daemon", str(self.root), str(max_bytes), str(keep)],
                stdin=subprocess.DEVNULL, stdout=descriptor, stderr=descriptor,
                env=dict(env), cwd="/", start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(descriptor)
        deadline = time.monotonic() + 30
        while not self.running():
            if started.poll() is not None or time.monotonic() > deadline:
                words = " / ".join(logs.last_lines(log, 2))
                raise SupervisorError(f"the supervisor did not start: {words} (see {log})")
            time.sleep(0.02)

    def leave(self) -> None:
        """End the supervisor, and it alone: what it runs goes on, to be adopted by the next one.

        :raises SupervisorError: it is still there after ten seconds
        """
        pid = int(self.ask("status")["pid"])
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while process.start_time(pid) is not None:
            if time.monotonic() > deadline:
                raise SupervisorError(f"the supervisor (pid {pid}) does not end")
            time.sleep(0.02)

    def define(self, services: Sequence[Service], parents: Sequence[Parent], helpers: Sequence[Helper] = ()) -> None:
        """Tell the supervisor what there is to run."""
        self.ask(
            "define",
            services=[to_json(item) for item in services],
            parents=[to_json(item) for item in parents],
            helpers=[to_json(item) for item in helpers],
        )

    def services(self) -> dict[str, dict[str, Any]]:
        """Return the state of each service by name."""
        return {item["name"]: item for item in self.ask("status")["services"]}

    def run_task(self, task: Service, timeout: float) -> None:
        """Run a task to its end.

        :param timeout: seconds until it is given up
        :raises TaskFailed: it ended with anything but status 0, or not in time
        """
        self.ask("task", service=to_json(task))
        deadline = time.monotonic() + timeout
        while True:
            state = self.ask("task-status", name=task.name)
            if state["state"] == "done":
                break
            if time.monotonic() > deadline:
                raise TaskFailed(task.name, f"not finished after {timeout:g} s", self._words(task), task.log)
            time.sleep(0.05)
        if state["status"] != 0:
            raise TaskFailed(task.name, state["why"], self._words(task), task.log)

    @staticmethod
    def _words(task: Service) -> list[str]:
        return logs.last_lines(Path(task.log), 20)
