"""nova-compute, libvirtd, the console daemon and bhyve, killed while an instance is made or deleted. Root only.

Each test ends with nothing left on the host of its instances. By default
nova-compute is killed before a sample of the calls that it makes, with
``--every-call`` before each (an hour on two cores).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence

import pytest

from conftest import eventually
from crash_lab import LIBVIRT_POINTS, Lab, hold_calls, kill_libvirtd_at
from freebsd_guests import admin_api, wait
from freebsd_pair import PairedSite

pytestmark = pytest.mark.cloud

#: Instances that are held at once: nova-compute makes no more than ten, and each is a guest to be emulated.
AT_ONCE = 6
#: What only reads, or is done once in a service's life.
READS = re.compile(r"\tlibvirt vir(Connect|Domain)(Get|Lookup|Free|IsAlive|List)|/run/nova-compute/|directio|privsep")
#: Calls under a lock, the image's or that of starts: who is held there keeps others from coming that far.
UNDER_LOCK = re.compile(r"/locks'|run cp |CreateWithFlags")
#: Without --every-call: what changes something, and is not next to another such.
SAMPLE = {
    "spawn": re.compile(r"run cp |ovsdb DelPort|DefineXML|CreateWithFlags|2\trun ps"),
    "delete": re.compile(r"virDomainDestroy|ovsdb DelPort|remove disk|UndefineFlags|connect to control"),
}


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
def calls(lab: Lab, request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """The calls of one spawn and of one delete before which nova-compute is to be killed."""
    guest = lab.boot("noted", spawn="", delete="")
    wait(lambda: guest.is_in("ACTIVE"), "the instance to run")
    lab.delete(guest)
    wait(lambda: lab.is_gone(guest), "the instance to be gone")
    noted = {operation: lab.calls("noted", operation) for operation in SAMPLE}
    assert all(any(SAMPLE[operation].search(call) for call in noted[operation]) for operation in SAMPLE)
    if request.config.getoption("--every-call", default=False):
        return {name: [call for call in found if not READS.search(call)] for name, found in noted.items()}
    return {name: [call for call in found if SAMPLE[name].search(call)] for name, found in noted.items()}


def in_rounds(calls: Sequence[str]) -> list[list[str]]:
    """Return the calls in lists of which each can be waited for together, at most one under a lock, last."""
    locked = [call for call in calls if UNDER_LOCK.search(call)]
    others = [call for call in calls if not UNDER_LOCK.search(call)]
    rounds = []
    while locked or others:
        rounds.append([*others[: AT_ONCE - 1], *locked[:1]])
        others, locked = others[AT_ONCE - 1 :], locked[1:]
    return rounds


def test_killed_while_it_makes_instances(lab: Lab, calls: dict[str, list[str]], nothing_left: None) -> None:
    for number, together in enumerate(in_rounds(calls["spawn"])):
        guests = {f"made-{number}-{place}": call for place, call in enumerate(together)}
        made = {name: lab.boot(name, spawn=call) for name, call in guests.items() if not UNDER_LOCK.search(call)}
        lab.await_held("spawn", *made)
        made |= {name: lab.boot(name, spawn=call) for name, call in guests.items() if name not in made}
        lab.await_held("spawn", *made)
        lab.restart("nova-compute")
        for name, guest in made.items():
            wait(functools.partial(guest.is_in, "ERROR"), f"{name} to be in ERROR, as it was not made whole")
        lab.delete_all()


def test_killed_while_it_deletes_instances(lab: Lab, calls: dict[str, list[str]], nothing_left: None) -> None:
    for number, together in enumerate(in_rounds(calls["delete"])):
        guests = [(f"gone-{number}-{place}", call) for place, call in enumerate(together)]
        made = {name: lab.boot(name, delete=call) for name, call in guests}
        for name, guest in made.items():
            wait(functools.partial(guest.is_in, "ACTIVE"), f"{name} to run")
            lab.delete(guest)
        lab.await_held("delete", *made)
        lab.restart("nova-compute")
        for name, guest in made.items():
            wait(functools.partial(lab.is_gone, guest), f"the deletion of {name} to be ended by the next nova-compute")


@pytest.mark.parametrize("point", LIBVIRT_POINTS)
def test_libvirtd_killed_while_it_starts_or_stops_a_guest(lab: Lab, point: str, nothing_left: None) -> None:
    pid = int(lab.site.services()["libvirtd"]["pid"])
    with kill_libvirtd_at(lab, point) as is_killed:
        guest = lab.boot(f"libvirtd-{point}")
        if point in ("stopped", "release"):
            wait(lambda: guest.is_in("ACTIVE"), "the instance to run")
            lab.delete(guest)
        eventually(is_killed, "libvirtd to be killed", 240)
        eventually(lambda: lab.site.is_back("libvirtd", pid), "libvirtd to come back", 240)
        if point in ("stopped", "release"):
            # The deletion failed with libvirtd, and says so; asked again, it is done.
            wait(lambda: lab.is_gone(guest) or guest.is_in("ERROR"), "the deletion to end")
        else:
            wait(lambda: guest.is_in("ERROR") or guest.is_in("ACTIVE"), "the instance to be made, or not")
            assert guest.is_in("ERROR") or guest.pids(), "an instance that is said to run has a bhyve"


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
