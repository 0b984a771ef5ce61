"""V7: disks go to other hosts by the transfer daemon, where a host has its certificate, instead of by ssh.

Upstream's ssh needs a shell for nova's user on every host, and of the same
name; scp writes the holes of raw disks out. nova's choices are this and rsync,
by the names of two classes in one module.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from beastack.seams.registry import Seam
from beastack.seams.source import CLASS
from beastack.transfer import protocol


def _make(original: type) -> type:
    from oslo_concurrency import processutils

    from beastack.port.nova.bhyve.options import CONF
    from beastack.transfer.client import Client, TransferError

    class TransferDriver(original):
        """Upstream's driver by ssh, or by the transfer daemons where the host is one of several that have them.

        Nobody is told of a process that could be killed meanwhile: there is
        none.
        """

        def create_file(self, host: str, dst_path: str, on_execute: Any, on_completion: Any) -> None:
            self._ask(host, protocol.TOUCH, dst_path, super().create_file, on_execute, on_completion)

        def remove_file(self, host: str, dst: str, on_execute: Any, on_completion: Any) -> None:
            self._ask(host, protocol.REMOVE, dst, super().remove_file, on_execute, on_completion)

        def create_dir(self, host: str, dst_path: str, on_execute: Any, on_completion: Any) -> None:
            self._ask(host, protocol.MAKE_DIRECTORY, dst_path, super().create_dir, on_execute, on_completion)

        def remove_dir(self, host: str, dst: str, on_execute: Any, on_completion: Any) -> None:
            self._ask(host, protocol.REMOVE_DIRECTORY, dst, super().remove_dir, on_execute, on_completion)

        def copy_file(self, src: str, dst: str, on_execute: Any, on_completion: Any, compression: bool) -> None:
            host, colon, path = dst.rpartition(":")
            if not CONF.bhyve.migration_certificates or not colon:
                super().copy_file(src, dst, on_execute, on_completion, compression)
                return
            self._translate(lambda client: client.send(Path(src), host.strip("[]"), path))

        def _ask(
            self, host: str, operation: str, path: str, otherwise: Callable[..., None], on_execute: Any,
            on_completion: Any,
        ) -> None:  # fmt: skip
            if not CONF.bhyve.migration_certificates:
                otherwise(host, path, on_execute, on_completion)
                return
            self._translate(lambda client: client.ask(host, operation, path))

        @staticmethod
        def _translate(work: Callable[[Client], None]) -> None:
            """Do it; nova rolls a migration back by this one error, as of a command."""
            try:
                work(Client(Path(CONF.bhyve.migration_certificates), CONF.bhyve.migration_port))
            except TransferError as error:
                raise processutils.ProcessExecutionError(stderr=str(error), description=str(error)) from error

    return TransferDriver


SEAM = Seam(
    id="V7",
    kind=CLASS,
    distribution="nova",
    module="nova.virt.libvirt.volume.remotefs",
    why="disks are copied to other hosts by ssh or rsync, chosen by the names of two classes: both need a shell for "
    "nova's user on every host",
    since="0.5.0",
    retired_by="nova loading [libvirt] remote_filesystem_transport by entry point",
    processes=("nova-compute",),
    hosts=("freebsd",),
    hashes={"33": "fb9da177e5ada3c3", "34": "fb9da177e5ada3c3"},
    make={"SshDriver": _make},
)
