"""What the driver does as root: the taps, machines and volumes of guests, by names that fit.

One context of oslo.privsep; nova's own are for nova's modules. Everything
else needs no privilege: libvirt is asked over its socket, and guests' files
are nova's own.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import stat
from collections.abc import Callable
from typing import Any, TypeVar

import nova.conf
from oslo_privsep import priv_context

from beastack.freebsd import command, process, zfs
from beastack.freebsd.command import CommandError
from beastack.freebsd.errors import DatasetNotFound, ProcessNotFound
from beastack.freebsd.interface import destroy_interface
from beastack.port.nova.bhyve import liveness, names, options

CONF = nova.conf.CONF
options.register()

context = priv_context.PrivContext(
    __name__, cfg_section="beastack_bhyve_privileged", pypath=f"{__name__}.context", capabilities=[]
)

#: Bytes of a log that are read at most.
LOG_LIMIT = 1 << 16

#: Seconds in which a killed process ends.
ENDED_AFTER = 5.0

Function = TypeVar("Function", bound=Callable[..., Any])


def entry_point(function: Function) -> Function:
    """Have a function served, and its errors arrive as what they are."""

    @functools.wraps(function)
    def served(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except CommandError as error:
            # oslo.privsep makes the error anew from these, on the other side.
            error.args = (list(error.argv), error.status, error.stdout, error.stderr)
            raise

    made: Function = context.entrypoint(served)
    return made


@entry_point
def destroy_tap(name: str) -> None:
    """Destroy a guest's tap that nothing has open; one that is not there is no error.

    :raises InterfaceBusy: it is open, and stays
    """
    destroy_interface(names.check_name(names.TAP, name), wait=0.0, missing_ok=True)


@entry_point
def create_machine(name: str) -> None:
    """Make the kernel's object of a virtual machine, so that libvirt can destroy it.

    :raises CommandError: it is there already
    """
    command.run(["bhyvectl", f"--vm={names.check_name(names.MACHINE, name)}", "--create"])


@entry_point
def end_machine(name: str) -> None:
    """Kill a virtual machine's processes, and destroy the kernel's object; neither has to be there.

    :raises TimeoutError: a process is there even after SIGKILL
    :raises CommandError: the object cannot be destroyed
    """
    names.check_name(names.MACHINE, name)
    for pid in liveness.find_machines(process.list_processes()).get(name, ()):
        process.stop(pid, ENDED_AFTER, first=signal.SIGKILL)
    if os.path.exists(names.node_of(name)):
        try:
            command.run(["bhyvectl", f"--vm={name}", "--destroy"])
        except CommandError:
            # Somebody else may have been faster.
            if os.path.exists(names.node_of(name)):
                raise


@entry_point
def freeze_machine(name: str, pid: int) -> None:
    """Stop a running machine's process where it is, guest, disks and all.

    :raises ProcessNotFound: that process is none of the machine's
    """
    _signal(name, pid, signal.SIGSTOP)


@entry_point
def thaw_machine(name: str, pid: int) -> None:
    """Let a frozen machine go on.

    :raises ProcessNotFound: that process is none of the machine's
    """
    _signal(name, pid, signal.SIGCONT)


@entry_point
def read_guest_log(name: str, size: int) -> str:
    """Return the last ``size`` bytes of what bhyve printed for a guest; nothing if it never ran."""
    path = os.path.join(CONF.bhyve.guest_log_directory, f"{names.check_name(names.MACHINE, name)}.log")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    with open(descriptor, "rb") as stream:
        details = os.fstat(stream.fileno())
        if not stat.S_ISREG(details.st_mode):
            return ""
        stream.seek(max(0, details.st_size - min(size, LOG_LIMIT)))
        return stream.read(LOG_LIMIT).decode(errors="replace")


@entry_point
def forget_guest(name: str) -> None:
    """Remove the files that libvirt leaves of a guest that it has undefined; none there is no error.

    That is what bhyve printed and, if libvirt was killed while it stopped the
    guest, the note that it runs, from which its next start would make it again.
    """
    names.check_name(names.MACHINE, name)
    for path in (
        os.path.join(CONF.bhyve.guest_log_directory, f"{name}.log"),
        os.path.join(CONF.bhyve.guest_state_directory, f"{name}.xml"),
        os.path.join(CONF.bhyve.guest_state_directory, f"{name}.pid"),
    ):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


@entry_point
def create_volume(name: str, size: int) -> None:
    """Make an empty volume without a reservation, whose node is the asking service's.

    :param size: bytes
    """
    zfs.create_volume(_dataset(name), size, sparse=True, properties={"volmode": "dev"}, parents=True)
    _hand_over(name)


@entry_point
def clone_volume(base: str, snapshot: str, name: str) -> None:
    """Make a volume that begins as a snapshot of another; its node is the asking service's."""
    zfs.clone(_snapshot(base, snapshot), _dataset(name), properties={"volmode": "dev"})
    _hand_over(name)


@entry_point
def resize_volume(name: str, size: int) -> None:
    """Set a volume's size, in bytes."""
    zfs.write_properties(_dataset(name), {"volsize": size})


@entry_point
def destroy_volume(name: str) -> None:
    """Remove a volume and its snapshots; one that is not there is no error.

    :raises DatasetBusy: others were cloned from it, or it is open
    """
    try:
        zfs.destroy(_dataset(name), recursive=True)
    except DatasetNotFound:
        return


@entry_point
def take_over(name: str) -> None:
    """Give a volume's node to the asking service: it is root's after each boot."""
    _hand_over(name)


@entry_point
def create_snapshot(name: str, snapshot: str) -> None:
    """Make a snapshot of a volume."""
    zfs.create_snapshot(_dataset(name), names.check_name(names.SNAPSHOT, snapshot))


@entry_point
def destroy_snapshot(name: str, snapshot: str) -> None:
    """Remove a snapshot; one that is not there is no error."""
    try:
        zfs.destroy(_snapshot(name, snapshot))
    except DatasetNotFound:
        return


@entry_point
def roll_back(name: str, snapshot: str) -> None:
    """Make a volume what it was at its last snapshot, which is that one."""
    command.run(["zfs", "rollback", _snapshot(name, snapshot)], timeout=zfs.TIMEOUT)


def _signal(name: str, pid: int, number: int) -> None:
    if liveness.look(pid, names.check_name(names.MACHINE, name)) is not liveness.State.READY:
        raise ProcessNotFound(["kill", f"-{int(number)}", str(pid)], 1, "", f"kill: {pid}: No such process")
    process.send_signal(pid, number)


def _dataset(name: str) -> str:
    above = CONF.bhyve.zfs_dataset
    if not above:
        raise ValueError("[bhyve] zfs_dataset is not set")
    return f"{above}/{names.check_name(names.VOLUME, name)}"


def _snapshot(name: str, snapshot: str) -> str:
    return f"{_dataset(name)}@{names.check_name(names.SNAPSHOT, snapshot)}"


def _hand_over(name: str) -> None:
    path = zfs.wait_for_node(_dataset(name))
    # The owner of the directory of instances is the service that asks.
    owner = os.stat(CONF.instances_path)
    os.chown(path, owner.st_uid, owner.st_gid)
