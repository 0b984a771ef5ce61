"""oslo.privsep on the supervisor's path: it works as upstream means it, and is held more tightly.

The services here are programs that run with the interpreter that has
oslo.privsep, as the user whom the contexts are for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from beastack.supervisor.spec import Parent
from conftest import HERE, SOURCE, Target, eventually, kill
from intruder import IS_FREEBSD, LIMIT

CONTEXTS = ("attacked.context", "attacked.other")
SEAMS = ("beastack.port.oslo.freebsd_seams",) if IS_FREEBSD else ()

#: What every service here begins with, and its attacks on the wire.
PRELUDE = """
import importlib, json, logging, os, socket, sys, threading, time
for seams in {seams!r}:
    importlib.import_module(seams)
import intruder, msgpack
from pathlib import Path
from oslo_config import cfg
from oslo_log import log
from oslo_privsep import comm, priv_context
import attacked
from attacked import context, functions, other

log.register_options(cfg.CONF)
cfg.CONF([], project="privsep", default_config_files=[])
log.setup(cfg.CONF, "service", fix_eventlet=False)
door = Path({door!r})
for section in ("attacked", "attacked_other"):
    cfg.CONF.set_override("helper_command", {command!r}, group=section)

def answer(value):
    print("ANSWER " + json.dumps(value), flush=True)

def call(daemon, *message):
    daemon.sendall(msgpack.packb(["1", list(message)]))
    unpacker = msgpack.Unpacker()
    while data := daemon.recv(4096):
        unpacker.feed(data)
        for number, reply in unpacker:
            if number == "1":
                return reply

def send(daemon, data, times=1):
    try:
        for _ in range(times):
            daemon.sendall(data)
        daemon.shutdown(socket.SHUT_WR)
    except OSError:
        pass
"""


class Services:
    """Runs services' programs."""

    def __init__(self, target: Target, python: str) -> None:
        self.target = target
        self.python = python
        self.running: list[subprocess.Popen[str]] = []

    def start(self, body: str) -> subprocess.Popen[str]:
        """Start a program."""
        door = str(self.target.door)
        command = f"{sys.executable} -IS {SOURCE}/beastack/supervisor/request.py {door}"
        text = PRELUDE.format(door=door, command=command, seams=SEAMS) + body
        ids: dict[str, Any] = {}
        if os.geteuid() == 0:
            ids = {"user": self.target.user, "group": self.target.user, "extra_groups": []}
        process = subprocess.Popen(
            [self.python, "-W", "ignore", "-c", text], env={**self.target.env, "HOME": "/"}, cwd="/", text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **ids,
        )  # fmt: skip
        self.running.append(process)
        return process

    def run(self, body: str) -> Any:
        """Run a program and return its answer."""
        return self.finish(self.start(body))

    def finish(self, process: subprocess.Popen[str]) -> Any:
        """Return a program's last answer."""
        out, errors = process.communicate(timeout=2 * LIMIT)
        answers = [line for line in out.splitlines() if line.startswith("ANSWER ")]
        assert answers and process.returncode == 0, errors[-3000:]
        return json.loads(answers[-1].removeprefix("ANSWER "))


@pytest.fixture(scope="session")
def oslo_parents(session_target: Target, oslo_python: str) -> None:
    """Have the supervisor load the parents of oslo.privsep's contexts."""
    target = session_target
    config = target.root / "privsep.conf"
    config.write_text("[DEFAULT]\n")
    target.parents += [
        Parent("oslo", (*SEAMS, "oslo_config.cfg"), ("eventlet",), None, oslo_python, target.env),
        Parent("privsep", ("attacked.functions", "beastack.port.oslo.privsep"), ("eventlet",), "oslo",
               prepare="beastack.port.oslo.privsep:prepare", argv=(str(config), "", *CONTEXTS)),
    ]  # fmt: skip
    target.helpers += [
        target.helper(name, parent="privsep", target="beastack.port.oslo.privsep:serve") for name in CONTEXTS
    ]
    target.client.define([], target.parents, target.helpers)
    target.client.ask("preload", names=["privsep"])

    def loaded() -> bool:
        parent = target.status()["parents"]["privsep"]
        assert parent["state"] != "failed", parent["why"]
        return bool(parent["state"] == "ready")

    eventually(loaded, "the parent of privileged daemons")


@pytest.fixture
def services(oslo_parents: None, target: Target, oslo_python: str) -> Iterator[Services]:
    """Services of the user whom the contexts are for."""
    made = Services(target, oslo_python)
    yield made
    for process in made.running:
        if process.poll() is None:
            process.kill()
            process.communicate()


# As upstream means it


def test_calls_values_and_errors(services: Services) -> None:
    found = services.run("""
result = [functions.add(1, two=2), functions.add("a", "b"), functions.add((1,), (2,))]
result.append(functions.add(b"\\x00", b"\\xff").hex())
try:
    functions.fail("nowhere")
except FileNotFoundError as error:
    result.append(error.args)
answer([*result, functions.who()[1:], os.getuid()])
""")
    assert found[:5] == [3, "ab", [1, 2], "00ff", [2, "nowhere"]]
    assert found[5] == [os.geteuid()] * 3
    assert found[6] == services.target.user


def test_log_records_come_through_the_channel(services: Services) -> None:
    found = services.run("""
class Keep(logging.Handler):
    def emit(self, record):
        kept.append([record.getMessage(), record.levelname, record.processName])
kept = []
logging.getLogger().addHandler(Keep())
functions.tell("it\\nis so")
functions.add(1)
answer([record for record in kept if "told" in record[0]])
""")
    assert found == [["told: it\nis so", "WARNING", "PrivContext(cfg_section=attacked)"]]


def test_a_call_that_takes_too_long(services: Services) -> None:
    found = services.run("""
began = time.monotonic()
try:
    functions.dawdle(60)
except comm.PrivsepTimeout:
    answer([time.monotonic() - began, functions.add(1, 1)])
""")
    assert 0.3 <= found[0] < 5 and found[1] == 2, "the next call is answered"


def test_the_fork_method(services: Services) -> None:
    found = services.run("""
context.start(priv_context.Method.FORK)
answer([functions.who()[0] != os.getpid(), functions.add(2, 2)])
""")
    assert found == [True, 4]
    assert services.target.daemons() == [], "the supervisor has no part in it"


def test_calls_at_once(services: Services) -> None:
    found = services.run("""
sums = []
def work():
    for number in range(200):
        sums.append(functions.add(number))
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
answer(sum(sums))
""")
    assert found == 8 * sum(range(200))


def test_a_daemon_killed_in_the_middle_of_a_call_comes_back(services: Services) -> None:
    program = services.start("""
functions.add(1)
print("ready", flush=True)
try:
    functions.sleep(60)
except OSError as error:
    answer([type(error).__name__, functions.add(1, 1)])
""")
    assert program.stdout is not None and any(line == "ready\n" for line in program.stdout)
    (pid,) = services.target.daemons()
    timer = threading.Timer(0.3, kill, (pid,))  # by then it is in the call
    timer.start()
    assert services.finish(program) == ["OSError", 2]
    timer.join()


def test_a_context_that_is_refused_is_told_at_once(services: Services) -> None:
    found = services.run("""
context.pypath = "attacked.unknown"
attacked.unknown = context
try:
    functions.add(1)
except Exception as error:
    answer(type(error).__name__)
""")
    assert found == "FailedToDropPrivileges"


# Attacks on the wire


@pytest.mark.parametrize("name", [
    "os.getpid", "os.system", "builtins.exec", "subprocess.check_output", "attackedx.functions.add",
    "attacked.functions.not_exported", "attacked.functions.of_another_context", "attacked.functions.LOG",
    "attacked.context", "attacked.unexpected.anything", "attacked", "attacked.", ".", "", None, 7, ["attacked"],
])  # fmt: skip
def test_functions_that_are_no_entry_points(services: Services, name: object) -> None:
    found = services.run(f"""
with intruder.obtain(door, "attacked.context") as daemon:
    first = call(daemon, comm.Message.CALL.value, {name!r}, [], {{}})
    answer([first[0], first[1], call(daemon, comm.Message.CALL.value, "attacked.functions.add", [1], {{}})])
""")
    assert found[0] == 5, "an error (comm.Message.ERR)"
    assert found[2] == [4, 1], "and it goes on serving what it may"


def test_nothing_outside_the_prefix_is_imported_for_an_attacker(services: Services) -> None:
    found = services.run("""
with intruder.obtain(door, "attacked.context") as daemon:
    answer([call(daemon, comm.Message.CALL.value, name, [], {}) for name in ("antigravity.fly", "this.s", "no.such")])
""")
    assert {reply[1] for reply in found} == {"builtins.NameError"}, "as if they were not there at all"


@pytest.mark.parametrize("message", [
    "[]", "['1']", "['1', []]", "['1', [99]]", "['1', [3]]", "['1', [3, 'attacked.functions.add']]", "['1', 7]", "7",
    "['1', [3, 'attacked.functions.add', 7, 7]]", "['1', [3, 'attacked.functions.add', [], {'x' * 1000: 1}]]",
    "[None, [1]]", "[['1'], [1]]", "['1', [1, 2, 3]]",
])  # fmt: skip
def test_malformed_messages(services: Services, message: str) -> None:
    assert survives(services, f"msgpack.packb({message})")


@pytest.mark.parametrize("data", [
    "b'\\xc1' * 100",  # never used in msgpack
    "b'\\xdd\\xff\\xff\\xff\\xff'",  # a list of four thousand million elements
    "b'\\xdd\\x05\\x00\\x00\\x00' * 50",  # lists of eighty million elements in one another
    "b'\\xdf\\xff\\xff\\xff\\xff'",  # a mapping as large
    "b'\\x91' * 100_000",  # a list in a list in a list
    "b'\\xc6\\xff\\xff\\xff\\xff' + b'x' * 1000",  # four gigabytes that do not come
    "b'\\xc7\\x08\\xff' + bytes(8)",  # a moment in time
    "os.urandom(100_000)",
])  # fmt: skip
def test_streams_that_are_no_messages(services: Services, data: str) -> None:
    assert survives(services, data)


def test_an_oversized_message(services: Services) -> None:
    assert survives(services, "b'\\xc6\\x10\\x00\\x00\\x00' + bytes(1 << 20)", 300)


def survives(services: Services, data: str, times: int = 1) -> bool:
    """Send bytes to one daemon; return whether it ends with its service, and another goes on."""
    return bool(
        services.run(f"""
with intruder.obtain(door, "attacked.context") as daemon, intruder.obtain(door, "attacked.context") as bystander:
    threading.Thread(target=send, args=(daemon, {data}, {times}), daemon=True).start()
    intruder.listen_all(daemon)
    answer(call(bystander, comm.Message.CALL.value, "attacked.functions.add", [1], {{}}) == [4, 1])
""")
    )


def test_the_contexts_code_is_not_the_services(services: Services) -> None:
    """A service's own search path, environment and directory are nothing to a daemon."""
    found = services.run("""
os.environ.update(PYTHONPATH="/nowhere", LD_PRELOAD="/nowhere.so", PYTHONSTARTUP="/nowhere.py")
answer(functions.add(1, 1))
""")
    assert found == 2
    assert str(HERE) in services.target.env["PYTHONPATH"]
