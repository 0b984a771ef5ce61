"""What nova-compute or libvirtd left of guests when it was killed in the middle of something, and how it goes.

libvirt knows of no bhyve that it was just starting when it was killed; and of
a guest that ended while it was away it leaves the kernel's machine
(src/bhyve/bhyve_driver.c, virBhyveProcessReconnect). Such a bhyve would have
the disks open that the next one is given.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Sequence

from oslo_concurrency import lockutils
from oslo_log import log as logging

from beastack.freebsd import command, process
from beastack.freebsd.command import CommandError
from beastack.port.nova.bhyve import imagebackend_zfs, libvirt_hook, liveness, names, privileged
from beastack.port.nova.bhyve.options import CONF

LOG = logging.getLogger(__name__)

#: Seconds in which a bhyve ends whose machine libvirt has destroyed.
ENDED_AFTER = 3.0
INTERVAL = 0.1

#: What upstream writes of an image before it is whole (nova.virt.images).
UNFINISHED = re.compile(r"(?P<image>.+)\.(?:part|converted)")
#: What upstream writes to learn whether a file system has direct I/O (nova.privsep.utils.supports_direct_io); another
#: host that shares the directory has learnt it once the file is there, and does not miss the file.
TRIAL = re.compile(r"\.directio\.test\.\d+")


def has_machine(name: str) -> bool:
    """Tell whether there is anything of a virtual machine: the kernel's object, or a bhyve."""
    return os.path.exists(names.node_of(name)) or name in liveness.find_machines(process.list_processes())


def end_machine(name: str) -> None:
    """End what there is of the machine of a guest that is off for libvirt.

    :raises CommandError: it cannot be ended
    :raises TimeoutError: a process of it outlives SIGKILL
    """
    deadline = time.monotonic() + ENDED_AFTER
    while has_machine(name):
        if time.monotonic() >= deadline:
            LOG.warning("A bhyve of the guest %s is left that libvirt does not know of: it is ended", name)
            privileged.end_machine(name)
            return
        time.sleep(INTERVAL)


def remove_taps(taps: Sequence[str]) -> None:
    """Take a guest's ports out of the switch, and destroy its taps; none there is no error."""
    database = CONF.os_vif_ovs_freebsd.ovsdb_connection  # our os-vif plugin's
    try:
        command.run(libvirt_hook.build_command(taps, database))
        for tap in taps:
            privileged.destroy_tap(tap)
    except CommandError as error:
        LOG.warning("Of the ports %s something is left: %s", ", ".join(taps), error)


def remove_unfinished() -> None:
    """Remove what nova-compute was writing when it was killed; to be called before it begins anything."""
    cache = os.path.join(CONF.instances_path, CONF.image_cache.subdirectory_name)
    for name in list_directory(cache):
        match = UNFINISHED.fullmatch(name)
        if match:
            _remove_unless_locked(os.path.join(cache, name), match["image"])
    for name in list_directory(CONF.instances_path):
        if TRIAL.fullmatch(name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(CONF.instances_path, name))
    for name in list_directory(CONF.libvirt.snapshots_directory):
        LOG.info("An image of a snapshot was not finished: %s is removed", name)
        shutil.rmtree(os.path.join(CONF.libvirt.snapshots_directory, name))
    if imagebackend_zfs.uses_volumes():
        imagebackend_zfs.remove_moments()


def _remove_unless_locked(path: str, image: str) -> None:
    # The cache may be shared with other hosts: who writes there holds this lock.
    lock = lockutils.external_lock(image, "nova-", os.path.join(CONF.instances_path, "locks"))
    if not lock.acquire(blocking=False):
        return
    try:
        LOG.info("An image was not fetched to its end: %s is removed", path)
        os.unlink(path)
    finally:
        lock.release()


def list_directory(path: str) -> list[str]:
    """Return the names in a directory, none when it is not there yet."""
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []
