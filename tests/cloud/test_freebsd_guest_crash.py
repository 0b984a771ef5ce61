"""nova-compute, libvirtd, the console daemon and bhyve, killed while an instance is made or deleted. Root only.

Each test ends with nothing left on the host of its instances. By default
nova-compute is killed before a sample of the calls that it makes, with
``--every-call`` before each (some twenty minutes).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

import crash_calls
import libvirt_points
from conftest import eventually
from crash_calls import Calls, Killed
from crash_lab import Lab, hold_calls
from freebsd_guests import admin_api, wait
from freebsd_pair import PairedSite

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module")
def lab(whole_site: PairedSite) -> Iterator[Lab]:
    with admin_api(whole_site) as api, hold_calls(whole_site, api) as lab:
        yield lab


@pytest.fixture
def nothing_left(lab: Lab) -> Iterator[None]:
    before = lab.traces()
    yield
    lab.delete_all()
    lab.await_nothing_beyond(before)


@pytest.fixture(scope="module")
def every_call(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--every-call", default=False))


@pytest.fixture(scope="module")
def calls(lab: Lab, every_call: bool) -> dict[str, Calls]:
    """The calls of one spawn and of one delete before which nova-compute is to be killed."""
    return crash_calls.note_all(lab) if every_call else crash_calls.note_sample(lab)


def test_killed_while_it_makes_instances(lab: Lab, calls: dict[str, Calls], nothing_left: None) -> None:
    killed = Killed("spawn")
    for number, together in enumerate(calls["spawn"].rounds()):
        made = crash_calls.hold_spawns(lab, f"made-{number}", together, killed)
        lab.kill_held(*((name, "spawn") for name in made))
        for name, guest in made.items():
            wait(functools.partial(guest.is_in, "ERROR"), f"{name} to be in ERROR, as it was not made whole")
        lab.delete_all()
    killed.tell()


def test_killed_while_it_deletes_instances(lab: Lab, calls: dict[str, Calls], nothing_left: None) -> None:
    killed = Killed("delete")
    for number, together in enumerate(calls["delete"].rounds()):
        if number < len(calls["delete"].once):
            # This one may have made the call already, in ending the deletions of the last round.
            lab.restart("nova-compute")
        made = crash_calls.hold_deletes(lab, f"gone-{number}", together, killed)
        lab.kill_held(*((name, "delete") for name in made))
        for name, guest in made.items():
            wait(functools.partial(lab.is_gone, guest), f"the deletion of {name} to be ended by the next nova-compute")
        lab.delete_all()
    killed.tell()


@pytest.mark.parametrize("point", libvirt_points.POINTS)
def test_libvirtd_killed_while_it_starts_or_stops_a_guest(lab: Lab, point: str, nothing_left: None) -> None:
    kill_libvirtd(lab, libvirt_points.kill_at_hook(lab, point), at_delete=point in ("stopped", "release"))


@pytest.mark.parametrize("moment", libvirt_points.MOMENTS)
@pytest.mark.parametrize("program", libvirt_points.PROGRAMS)
def test_libvirtd_killed_at_a_program(
    lab: Lab, every_call: bool, program: str, moment: str, nothing_left: None
) -> None:
    if not every_call:
        pytest.skip("only with --every-call")
    kill_libvirtd(lab, libvirt_points.kill_at_program(lab, program, moment), at_delete=program == "bhyvectl")


def kill_libvirtd(lab: Lab, killing: AbstractContextManager[Callable[[], bool]], *, at_delete: bool) -> None:
    """Make an instance, and at a delete delete it, while libvirtd is killed on the way."""
    pid = int(lab.site.services()["libvirtd"]["pid"])
    with killing as is_killed:
        guest = lab.boot("libvirtd")
        if at_delete:
            wait(lambda: guest.is_in("ACTIVE"), "the instance to run")
            lab.delete(guest)
        eventually(is_killed, "libvirtd to be killed", 240)
        eventually(lambda: lab.site.is_back("libvirtd", pid), "libvirtd to come back", 240)
        if at_delete:
            # The deletion failed with libvirtd, and says so; asked again, it is done.
            wait(lambda: lab.is_gone(guest) or guest.is_in("ERROR"), "the deletion to end")
        else:
            wait(lambda: guest.is_in("ERROR") or guest.is_in("ACTIVE"), "the instance to be made, or not")
            assert guest.is_in("ERROR") or guest.pids(), "an instance that is said to run has a bhyve"


def test_a_guest_that_restarts_itself_while_another_is_started(
    lab: Lab, every_call: bool, nothing_left: None
) -> None:
    if not every_call:
        pytest.skip("only with --every-call: on a very busy machine the start has been seen to fail all the same")
    restarted = lab.boot_anew("restarted")
    wait(lambda: restarted.is_in("ACTIVE"), "the instance to run")
    before = restarted.pids()
    with libvirt_points.restart_at_start(lab, restarted.domain) as has_begun:
        # libvirt takes the process of the first for that of the second.
        started = lab.boot_anew("started")
        wait(lambda: started.is_in("ACTIVE"), "the second to run, though it was taken for the first")
        assert has_begun()
    assert f"The guest {started.domain} is started again" in lab.site.layout.log("nova-compute").read_text()
    assert len(started.pids()) == len(restarted.pids()) == 1
    assert restarted.pids() != before and restarted.is_in("ACTIVE")


def test_a_bhyve_killed_while_it_is_started(lab: Lab, nothing_left: None) -> None:
    guest = lab.boot("bhyve-killed", spawn="1\tlibvirt virDomainGetInfo")
    lab.await_held("spawn", "bhyve-killed")
    (pid,) = guest.pids()
    lab.site.inside("kill", "-KILL", str(pid))
    lab.let_go("bhyve-killed", "spawn")
    wait(lambda: guest.is_in("ERROR") or guest.is_in("SHUTOFF"), "nova to say that it does not run")
    assert not guest.pids()


def test_a_guest_stopped_before_it_has_acpi(lab: Lab, nothing_left: None) -> None:
    guest = lab.boot("stopped-early")
    wait(lambda: guest.is_in("ACTIVE"), "the instance to run")
    # The firmware has hardly begun: the power button is SIGTERM, and ends bhyve.
    guest.act(**{"os-stop": None})
    wait(lambda: guest.is_in("SHUTOFF"), "nova to say that it does not run")
    assert not guest.pids()


def test_a_bhyve_that_refuses_its_arguments(lab: Lab, nothing_left: None) -> None:
    guest = lab.boot("refused", spawn="1\tlibvirt virDomainCreateWithFlags")
    lab.await_held("spawn", "refused")
    lab.give_argument(guest, "-Z")
    lab.let_go("refused", "spawn")
    wait(lambda: guest.is_in("ERROR"), "the instance to be in ERROR")
    # It exits with 1, as after a power-off. The API tells of a failed build only that no host was left to try.
    said = lab.site.layout.log("nova-compute").read_text()
    assert "bhyve could not set the guest up: bhyve: illegal option -- Z" in said
    assert not guest.pids()


def test_the_console_daemon_killed_while_it_is_asked(lab: Lab, nothing_left: None) -> None:
    guest = lab.boot("console", spawn="1\tconnect to control.sock", delete="1\tconnect to control.sock")
    for operation in ("spawn", "delete"):
        if operation == "delete":
            lab.delete(guest)
        lab.await_held(operation, "console")
        pid = lab.site.kill("console")
        lab.let_go("console", operation)
        if operation == "spawn":
            wait(lambda: guest.is_in("ACTIVE"), "the instance to run")
        eventually(functools.partial(lab.site.is_back, "console", pid), "the daemon to come back", 240)
    wait(lambda: lab.is_gone(guest), "the instance to be gone")


def test_what_was_not_finished_goes_with_the_next_start(lab: Lab, nothing_left: None) -> None:
    nova = lab.site.layout.data("nova")
    owner = nova.stat()
    snapshots = nova / "snapshots"
    is_new = not snapshots.exists()
    for file in (nova / "instances/_base" / f"{'0' * 40}.part", snapshots / "tmpunfinished/half"):
        lab.write_as(file, owner)
    lab.restart("nova-compute")
    eventually(lambda: not lab.unfinished(), "what was half written to be removed", 120)
    if is_new:
        snapshots.rmdir()
    # Nova keeps the lock of every image that was ever cached; this one never was.
    (nova / "instances/locks" / f"nova-{'0' * 40}").unlink()
