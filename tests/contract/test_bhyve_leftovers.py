"""What nova-compute or libvirtd left when it was killed: the driver over a libvirt that stands in."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bhyve_guests import UUID, make_port
from bhyve_host import make_driver
from bhyve_libvirt import libvirtError
from test_bhyve_driver import SEAMS, start_guest

OnFreeBSD = Callable[..., None]
NAME, OTHER = "instance-0000002a", "11111111-7a8b-4e54-9f0d-2f4d6f5b1c01"
LOST = 6001

#: A program that holds a lock until its input ends.
HOLD = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, 2); print(flush=True); sys.stdin.read()"


def lose_guest(driver: Any, domain: Any) -> None:
    """Have the guest off for libvirt, while its bhyve goes on until it is ended."""
    domain.pid = -1
    driver.processes.others[LOST] = f"bhyve: {NAME}"
    driver.privileged.answers["end_machine"] = lambda name: driver.processes.others.pop(LOST, None)


def test_a_bhyve_that_libvirt_does_not_know_of_is_ended(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        driver = make_driver(tmp_path)
        instance = start_guest(driver)
        domain = driver.connection.domains[UUID]
        # By a deletion, and before a start, which would give a second one the same disks.
        for act in (lambda: driver._destroy(instance), lambda: driver._host.get_guest(instance).launch()):
            lose_guest(driver, domain)
            driver.privileged.calls.clear()
            act()
            assert driver.privileged.calls == [("end_machine", NAME)]
            assert domain.pid != LOST and LOST not in driver.processes.others

    on_freebsd(body, *SEAMS)


def test_it_is_ended_too_when_nobody_asks(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        driver = make_driver(tmp_path)
        from beastack.port.nova.bhyve.watch import Watcher

        start_guest(driver)
        watcher = Watcher(driver._list_domains, lambda event: None, 1.0)
        watcher.look()
        lose_guest(driver, driver.connection.domains[UUID])
        # Seen once it may be one that libvirt is about to take note of.
        watcher.look()
        assert not driver.privileged.calls
        watcher.look()
        assert driver.privileged.calls == [("end_machine", NAME)]
        watcher.look()
        assert len(driver.privileged.calls) == 1

    on_freebsd(body, *SEAMS)


def test_what_was_not_finished_is_removed_at_the_start(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        driver = make_driver(tmp_path, libvirt__snapshots_directory=str(tmp_path / "snapshots"))
        from beastack.port.nova.bhyve.consoles import ConsoleMixin

        cache = tmp_path / "instances" / "_base"
        half = tmp_path / "snapshots" / "tmpabcdefgh"
        for directory in (cache, half, tmp_path / "instances" / OTHER):
            directory.mkdir(parents=True)
        for name in ("aaa", "bbb.part", "ccc.converted", "ddd.part"):
            (cache / name).touch()
        (tmp_path / "instances" / ".directio.test.42").touch()
        kept: list[set[str]] = []
        ConsoleMixin._remove_other_consoles = lambda self, uuids: kept.append(set(uuids))  # type: ignore[method-assign]
        start_guest(driver)
        locks = tmp_path / "instances" / "locks"
        locks.mkdir()
        # Another host that shares the cache fetches this one.
        program = [sys.executable, "-c", HOLD, str(locks / "nova-ddd")]
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None and other.stdout.readline()
            driver.init_host("host1")
        assert sorted(file.name for file in cache.iterdir()) == ["aaa", "ddd.part"]
        assert not half.exists()
        assert not (tmp_path / "instances" / ".directio.test.42").exists()
        assert {UUID, OTHER} <= kept[0]

    on_freebsd(body, *SEAMS)


def test_a_start_that_libvirt_hangs_in_is_ended(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        driver = make_driver(tmp_path)
        from beastack.port.nova.bhyve import guest

        guest.HANGS_AFTER = 0.05
        instance = start_guest(driver)
        domain = driver.connection.domains[UUID]
        domain.pid, closed = -1, threading.Event()

        def hang(flags: int = 0) -> None:
            # It destroys the tap of a guest that it takes for failed, and waits for the bhyve that has it open.
            assert closed.wait(60)
            raise libvirtError("Domain didn't show up", 1)

        domain.createWithFlags = hang
        driver.privileged.answers["end_machine"] = lambda name: closed.set()
        with pytest.raises(libvirtError):
            driver._host.get_guest(instance).launch()
        assert ("end_machine", NAME) in driver.privileged.calls

    on_freebsd(body, *SEAMS)


def test_a_stop_takes_the_ports_out(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from nova import objects
        from nova.network import model

        driver = make_driver(tmp_path)
        instance = start_guest(driver)
        objects.Instance.get_network_info = lambda self: model.NetworkInfo([make_port()])
        unplugged: list[str] = []
        driver.vif_driver.unplug = lambda instance, vif: unplugged.append(vif["devname"])
        driver.power_off(instance)
        assert unplugged == [make_port()["devname"]]

    on_freebsd(body, *SEAMS)


def test_taps_that_nova_has_forgotten_go_with_the_guest(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        driver = make_driver(tmp_path)
        # Only now: libvirt has to be the stand-in.
        from nova.virt.libvirt import driver as upstream

        from beastack.port.nova.bhyve import leftovers

        instance = start_guest(driver)
        removed: list[list[str]] = []
        leftovers.remove_taps = removed.append  # type: ignore[assignment]
        upstream.LibvirtDriver._cleanup = lambda *arguments, **named: None
        driver._cleanup(None, instance, [make_port()])
        # A delete that failed before has deallocated the network.
        driver._cleanup(None, instance, [])
        assert removed == [[make_port()["devname"]]]

    on_freebsd(body, *SEAMS)
