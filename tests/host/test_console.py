"""The console daemon: unprivileged, on real nmdm pairs, with a guest of bhyve's, through every restart."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.console.client import DaemonUnreachable, LineUnavailable, RequestRefused
from beastack.console.names import Key
from beastack.freebsd import kld, nmdm, process
from beastack.freebsd.command import CommandError, run
from conftest import eventually
from console_daemon_lab import DAEMON, Site, as_peer, made_site, read_for, supervised_site, view
from network_lab import NOBODY
from test_libvirt import FIRMWARE, libvirtd, virsh

__all__ = ["libvirtd"]  # a fixture

BOOT_LIMIT = 180

#: No master and no slave: libvirt names the pair.
DOMAIN = """\
<domain type='bhyve'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>256</memory>
  <vcpu>1</vcpu>
  <os><type>hvm</type><loader readonly='yes' type='pflash'>{firmware}</loader></os>
  <features><acpi/><apic/></features>
  <clock offset='utc'/>
  <on_reboot>restart</on_reboot>
  <devices>
    <disk type='file' device='disk'>
      <driver name='file' type='raw'/><source file='{disk}'/><target dev='vda' bus='virtio'/>
    </disk>
    <serial type='nmdm'/>
  </devices>
</domain>
"""


@pytest.fixture
def site() -> Iterator[Site]:
    kld.load("nmdm")
    with made_site() as made:
        yield made


@pytest.fixture
def instance() -> str:
    return str(uuid.uuid4())


class Guest:
    """Side A of an instance's pair, opened as bhyve opens it."""

    def __init__(self, instance: str) -> None:
        self.line = nmdm.open_side(Key(instance).pair.a)

    def say(self, text: bytes) -> None:
        """Print to the console."""
        while text:
            with contextlib.suppress(BlockingIOError):
                text = text[os.write(self.line, text[:512]) :]

    def hear(self, count: int) -> bytes:
        """Return so many bytes of input."""
        heard, deadline = b"", time.monotonic() + 20
        while len(heard) < count:
            assert time.monotonic() < deadline, f"{heard!r} is all that came"
            try:
                heard += os.read(self.line, 4096)
            except BlockingIOError:
                time.sleep(0.01)
        return heard

    def end(self) -> None:
        """Close the line, as a guest that stops; between two lives of a guest there is more time than this."""
        os.close(self.line)
        time.sleep(0.1)  # a simulated line takes its settings back a moment after the close


@contextlib.contextmanager
def guest_of(instance: str) -> Iterator[Guest]:
    """A guest that runs meanwhile."""
    guest = Guest(instance)
    try:
        yield guest
    finally:
        guest.end()


def logged(site: Site, instance: str, text: str) -> None:
    eventually(lambda: text in site.log(instance), f"{text!r} in the log")


def test_the_daemon_has_the_line_and_no_privilege(site: Site, instance: str) -> None:
    port = as_peer(lambda: site.client.ensure(instance))
    assert site.running is not None
    daemon = process.read_process(site.running.pid)
    assert daemon is not None and daemon.uid == NOBODY
    node = os.stat(Key(instance).pair.b)
    assert (node.st_uid, node.st_gid, stat.S_IMODE(node.st_mode)) == (0, 0, 0o600), "nobody else can read along"
    with guest_of(instance) as guest, view(port) as one, view(port) as other:
        guest.say(b"login: ")
        for each in (one, other):
            read_for(each, b"login: ")
        one.sendall(b"ro")
        assert guest.hear(2) == b"ro"
        other.sendall(b"ot\r\x03\x04\x1a")
        assert guest.hear(6) == b"ot\r\x03\x04\x1a"
    logged(site, instance, "login: ")
    as_peer(lambda: site.client.remove(instance))
    eventually(lambda: not os.path.lexists(Key(instance).pair.b), "the pair goes")


def test_the_line_outlives_the_guest(site: Site, instance: str) -> None:
    port = site.client.ensure(instance)
    with view(port) as connection:
        for turn in range(3):
            with guest_of(instance) as guest:
                guest.say(b"boot %d\n" % turn)
                read_for(connection, b"boot %d\n" % turn)
                connection.sendall(b"hi%d" % turn)
                assert guest.hear(3) == b"hi%d" % turn
    assert site.log(instance) == "boot 0\nboot 1\nboot 2\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_guest_does_not_notice_a_restart(site: Site, instance: str, number: int) -> None:
    port = site.client.ensure(instance)
    with guest_of(instance) as guest:
        guest.say(b"before\n")
        logged(site, instance, "before\n")
        assert site.end(number) == (0 if number == signal.SIGTERM else -number)
        with pytest.raises(DaemonUnreachable):
            site.client.status()
        guest.say(b"meanwhile\n")
        assert site.log(instance) == "before\n"
        site.start()
        guest.say(b"after\n")
        logged(site, instance, "after\n")
        assert site.log(instance).startswith("before\n")
        assert site.client.ensure(instance) == port
        with view(port) as connection:
            read_for(connection, b"after\n")
            connection.sendall(b"hello")
            assert guest.hear(5) == b"hello"


def test_a_guest_that_starts_while_the_daemon_is_away(site: Site, instance: str) -> None:
    site.client.ensure(instance)
    site.end(signal.SIGKILL)
    eventually(lambda: not os.path.lexists(Key(instance).pair.b), "the pair goes")
    with guest_of(instance) as guest:  # the pair is a new one, and root's
        guest.say(b"early\n")
        site.start()
        guest.say(b"late\n")
        logged(site, instance, "late\n")
        assert [item["state"] for item in site.client.list()] == ["open"]


def test_killed_at_any_moment_it_forgets_nothing(site: Site) -> None:
    rng = random.Random(3)
    wanted: dict[str, int] = {}
    failures: list[BaseException] = []
    kills = 0

    def work() -> None:
        done = 0
        try:
            # However fast the daemon is: until it has been killed often enough in the middle of it.
            while done < 150 or kills < 5:
                done += 1
                if wanted and rng.random() < 0.4:
                    gone = rng.choice(sorted(wanted))
                    site.client.remove(gone)
                    del wanted[gone]
                else:
                    made = str(uuid.UUID(int=rng.getrandbits(128)))
                    wanted[made] = site.client.ensure(made)
        except BaseException as error:
            failures.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    while worker.is_alive():
        worker.join(rng.uniform(0.02, 0.3))
        site.end(signal.SIGKILL)
        site.start()
        kills += 1
    assert not failures
    assert {item["uuid"]: item["port"] for item in site.client.list()} == wanted
    assert all(item["state"] == "open" for item in site.client.list())
    assert {name[:36] for name in os.listdir(site.directory / "log")} == set(wanted)
    for each in wanted:
        site.client.remove(each)
    left = [name for name in os.listdir("/dev") if name[4:40] in wanted]
    eventually(lambda: not [name for name in left if os.path.lexists(f"/dev/{name}")], "the pairs go")


def test_under_the_supervisor(instance: str) -> None:
    kld.load("nmdm")
    with supervised_site() as site:
        port = as_peer(lambda: site.client.ensure(instance))  # waits for its start
        with guest_of(instance) as guest:
            for turn in range(2):
                daemon = site.client.status()["pid"]
                table = process.list_processes()
                (opener,) = process.children(daemon, table)
                assert [each.uid for each in table if each.pid in (daemon, opener.pid)] == [NOBODY, 0]
                guest.say(b"turn %d\n" % turn)
                logged(site, instance, f"turn {turn}\n")
                process.send_signal((daemon, opener.pid)[turn], signal.SIGKILL)
                process.wait_gone(daemon, 20)
                process.wait_gone(opener.pid, 20)
                assert as_peer(lambda: site.client.ensure(instance)) == port
            assert site.log(instance) == "turn 0\nturn 1\n"
    with pytest.raises(DaemonUnreachable):
        site.client.status()
    eventually(lambda: not os.path.lexists(Key(instance).pair.b), "the pair goes")


def test_the_daemon_ends_with_its_opener(site: Site, instance: str) -> None:
    site.client.ensure(instance)
    assert site.running is not None
    process.send_signal(site.opener(), signal.SIGKILL)
    assert site.running.wait(10) == 1
    site.start()
    site.client.ensure(str(uuid.uuid4()))
    assert len(site.client.list()) == 2


def test_signals_that_the_opener_does_not_mind(site: Site, instance: str) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        process.send_signal(site.opener(), number)
    site.client.ensure(instance)


def test_without_the_module(site: Site, instance: str) -> None:
    try:
        run(["kldunload", "nmdm"])
    except CommandError:
        pytest.skip("the module is in use")
    try:
        with pytest.raises(LineUnavailable):
            site.client.ensure(instance)
        assert site.client.list() == []
    finally:
        kld.load("nmdm")
    site.client.ensure(instance)


def test_who_may_use_it(site: Site, instance: str) -> None:
    as_peer(lambda: site.client.ensure(instance))
    with pytest.raises(DaemonUnreachable, match="Permission denied"):
        as_peer(site.client.status, group="operator")
    with pytest.raises(PermissionError):
        as_peer(lambda: site.client.read_log(instance, 10), group="operator")

    def write() -> None:
        (site.directory / "log" / f"{instance}.log").open("a")

    with pytest.raises(PermissionError):
        as_peer(write)
    with pytest.raises(PermissionError):
        as_peer((site.directory / "consoles.json").read_text)
    site.end()
    site.directory.chmod(0o2755)
    site.start()
    (site.directory / "control.sock").chmod(0o666)  # by mistake: then the kernel's word counts

    def ask_as_a_stranger() -> None:
        os.seteuid(2)
        try:
            site.client.status()
        finally:
            os.seteuid(0)

    with pytest.raises(RequestRefused, match="uid 2 "):
        ask_as_a_stranger()


def test_the_control_socket_outlives_what_comes_in(site: Site, instance: str) -> None:
    site.client.ensure(instance)
    rng = random.Random(5)
    request = b'{"op": "add", "uuid": "%s", "line": "/dev/nmdm%sB"}\n' % (instance.encode(), instance.encode())
    for _ in range(300):
        data = bytearray(request)
        for _ in range(rng.randrange(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.settimeout(10)
            connection.connect(str(site.directory / "control.sock"))
            connection.sendall(data)
            if rng.random() < 0.5:
                connection.shutdown(socket.SHUT_WR)
                connection.recv(4096)
    assert any(item["uuid"] == instance and item["state"] == "open" for item in site.client.list())


def test_a_tcp_console_of_bhyve_s(site: Site, instance: str) -> None:
    if not Path(FIRMWARE).exists():
        pytest.skip("there is no firmware for bhyve")
    kld.load("vmm")
    name, where = f"bt-{instance[:8]}", "tcp:127.0.0.1:20007"
    port = site.client.ensure(instance, where)
    for turn in range(2):  # found again when bhyve has been started anew
        guest = subprocess.Popen([
            "bhyve", "-c", "1", "-m", "256M", "-H", "-s", "0,hostbridge", "-s", "31,lpc",
            "-l", f"bootrom,{FIRMWARE}", "-l", "com1,tcp=127.0.0.1:20007", name,
        ])  # fmt: skip
        try:
            with view(port) as connection:
                connection.settimeout(60)
                if turn == 0:
                    read_for(connection, b"Shell> ")  # the firmware's own: there is nothing to boot
                else:
                    read_for(connection, b"answer 0")  # what has been before
                    read_for(connection, b"Shell> ")
                connection.sendall(b"echo ans^wer %d\r" % turn)
                read_for(connection, b"answer %d" % turn)
            logged(site, instance, f"answer {turn}")
        finally:
            run(["bhyvectl", "--destroy", f"--vm={name}"])
            guest.wait(20)
        eventually(lambda: site.client.list()[0]["state"] != "open", "the end of bhyve is noticed")
        # That the next bhyve could bind its port again is the daemon's doing: it sets no SO_REUSEADDR.


def test_a_guest_of_libvirt_s(libvirtd: None, site: Site, instance: str, image: Path, tmp_path: Path) -> None:
    name = f"bt-{instance[:8]}"
    disk = tmp_path / "disk.raw"
    shutil.copyfile(image, disk)
    definition = tmp_path / "guest.xml"
    definition.write_text(DOMAIN.format(name=name, uuid=instance, firmware=FIRMWARE, disk=disk))
    port = as_peer(lambda: site.client.ensure(instance))
    virsh("define", str(definition))
    try:
        virsh("start", name)
        assert f"slave='{Key(instance).pair.b}'" in virsh("dumpxml", name), "libvirt chooses the same pair"
        with view(port) as connection:
            connection.settimeout(BOOT_LIMIT)
            read_for(connection, b"root@")
            connection.sendall(b"echo answer=$((6 * 7))\n")
            read_for(connection, b"answer=42")
        logged(site, instance, "answer=42")

        site.end(signal.SIGKILL)
        site.start()
        with view(port) as connection:
            connection.settimeout(BOOT_LIMIT)
            read_for(connection, b"answer=42")  # what has been before
            connection.sendall(b"echo answer=$((6 * 8))\n")
            read_for(connection, b"answer=48")
            connection.sendall(b"reboot\n")  # libvirt starts bhyve again
            read_for(connection, b"BEASTACK-GUEST: READY")
            read_for(connection, b"root@")
            connection.sendall(b"echo answer=$((6 * 9))\n")
            read_for(connection, b"answer=54")
        log = site.log(instance)
        assert log.count("BEASTACK-GUEST: READY") == 2 and "answer=54" in log
        assert sum(path.stat().st_size for path in (site.directory / "log").iterdir()) <= 200000
    finally:
        if name in virsh("list", "--name"):
            virsh("destroy", name)
        virsh("undefine", name)
    assert site.running is not None
    assert process.read_process(site.running.pid) is not None, f"the daemon, as {DAEMON}"
