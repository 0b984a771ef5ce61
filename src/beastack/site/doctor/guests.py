"""Guests: whether nova and libvirt agree on them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from beastack.site.doctor.answers import GUEST_RUNNING, GUEST_STATES, Object
from beastack.site.doctor.finding import Finding, bad, good
from beastack.site.doctor.view import View

#: Seconds after which a change of an instance that is still under way has stopped.
STUCK_AFTER = 900.0


def check_hypervisor(view: View) -> Iterator[Finding]:
    """Libvirt answers."""
    answers, seen = view.hypervisor
    if answers:
        yield good("libvirt", seen)
    else:
        yield bad("libvirt", seen, f"{view.command('logs', 'libvirtd')}; {view.restart('libvirtd')}")


def check_guests(view: View) -> Iterator[Finding]:
    """Nova and libvirt agree on which guests run."""
    # Nova second: a guest that it deletes meanwhile is gone from libvirt first, and one it makes is there later.
    guests, servers = view.guests, [one for one in view.servers if view.on_this_host(one)]
    wrong = 0
    for server in servers:
        # What is under way changes one after the other.
        if server.get("OS-EXT-STS:task_state"):
            continue
        state = guests.get(server["OS-EXT-SRV-ATTR:instance_name"])
        seen = "not there" if state is None else GUEST_STATES.get(state, f"in state {state}")
        if server["status"] == "ACTIVE" and state != GUEST_RUNNING:
            wrong += 1
            text = f"nova says {server['name']} is ACTIVE, libvirt says it is {seen}"
            yield bad("guests", text, view.openstack("server reboot --hard", server["id"]))
        elif server["status"] == "SHUTOFF" and state == GUEST_RUNNING:
            wrong += 1
            text = f"nova says {server['name']} is SHUTOFF, libvirt says it is {seen}"
            yield bad("guests", text, view.openstack("server start", server["id"]))
    names = {server.get("OS-EXT-SRV-ATTR:instance_name") for server in view.servers}
    for name in [name for name in guests if name not in names]:
        wrong += 1
        virsh = f"virsh --connect '{view.libvirt_uri}'"
        remedy = f"{virsh} destroy {name}; {virsh} {view.words.forget_guest.format(name)}"
        yield bad("guests", f"libvirt has {name}, which is no instance of nova's", remedy)
    if not wrong:
        running = sum(1 for state in guests.values() if state == GUEST_RUNNING)
        yield good("guests", f"{running} run, as nova says")


def check_instances(view: View) -> Iterator[Finding]:
    """No instance is in ERROR, and none has stopped half-way."""
    wrong = 0
    for server in view.servers:
        task = server.get("OS-EXT-STS:task_state")
        if server["status"] == "ERROR":
            wrong += 1
            fault = " ".join(str(server.get("fault", {}).get("message") or "nova gives no reason").split())
            yield bad("instances", f"{server['name']} is in ERROR: {fault}", _error_remedy(view, server))
        elif task and (age := _age(server.get("updated"))) > STUCK_AFTER:
            wrong += 1
            seen = f"{server['name']} has been {server['status']} ({task}) for {age / 60:.0f} minutes"
            remedy = view.openstack("server set --state error", server["id"]) + f"; {_error_remedy(view, server)}"
            yield bad("instances", seen, remedy)
    if not wrong:
        yield good("instances", f"{len(view.servers)}, none in ERROR")


def _error_remedy(view: View, server: Object) -> str:
    """Return what helps: an instance that ran is started again, one that never did is made anew."""
    if server.get("OS-SRV-USG:launched_at") and server.get("OS-EXT-SRV-ATTR:host"):
        return view.openstack("server reboot --hard", server["id"])
    return view.openstack("server delete", server["id"]) + " and make it again"


def _age(stamp: str | None) -> float:
    """Return the seconds since a time stamp of nova's (UTC); nothing for one that cannot be read."""
    try:
        moment = datetime.fromisoformat(str(stamp))
    except ValueError:
        return 0.0
    return time.time() - moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
