"""V7: what nova asks of another host's files goes to the transfer daemon there, and by ssh where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

UUID = "0e3c1f0a-5d47-4d0e-9d64-0d4f3f1f9d11"
OnFreeBSD = Callable[..., None]


def exchange(directory: Path, work: Callable[[Any, Any, Path], None]) -> None:
    """Run nova's code against a daemon on loopback, whose instances are in a directory."""
    import threading

    from nova.virt.libvirt import utils
    from nova.virt.libvirt.volume import remotefs
    from oslo_config import cfg

    from beastack.site import certificates
    from beastack.transfer.daemon import Daemon
    from beastack.transfer.files import Files
    from beastack.transfer.protocol import make_context

    authority = certificates.make_authority()
    own = certificates.issue(authority, "here", "127.0.0.1")
    shown, instances = directory / "shown", directory / "instances"
    shown.mkdir()
    instances.mkdir()
    for name, text in (("authority", authority.certificate), ("certificate", own.certificate), ("key", own.key)):
        (shown / f"{name}.pem").write_text(text)
    files = Files(instances, lambda uuid: False)
    with Daemon(("127.0.0.1", 0), make_context(shown, server=True), files) as daemon:
        threading.Thread(target=daemon.serve_forever, daemon=True).start()
        cfg.CONF.set_override("migration_certificates", str(shown), "bhyve")
        cfg.CONF.set_override("migration_port", daemon.server_address[1], "bhyve")
        work(remotefs, utils, instances)
        daemon.shutdown()


def test_disks_go_to_the_daemon(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def work(remotefs: Any, utils: Any, instances: Path) -> None:
        disk = tmp_path / "disk"
        disk.write_bytes(b"guest" * 1000)
        files, place = remotefs.RemoteFilesystem(), f"/elsewhere/{UUID}"
        files.create_dir("127.0.0.1", place)
        files.create_file("127.0.0.1", f"{place}/a.tmp")
        assert (instances / UUID / "a.tmp").exists()
        files.remove_file("127.0.0.1", f"{place}/a.tmp")
        utils.copy_image(str(disk), f"{place}/disk", host="127.0.0.1", compression=True)
        assert (instances / UUID / "disk").read_bytes() == disk.read_bytes()
        files.remove_dir("127.0.0.1", place)
        assert list(instances.iterdir()) == []

    on_freebsd(lambda: exchange(tmp_path, work), "V7")


def test_a_refusal_is_what_nova_rolls_back_by(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def work(remotefs: Any, utils: Any, instances: Path) -> None:
        from oslo_concurrency import processutils

        with pytest.raises(processutils.ProcessExecutionError, match="no directory of an instance"):
            remotefs.RemoteFilesystem().create_dir("127.0.0.1", "/etc")

    on_freebsd(lambda: exchange(tmp_path, work), "V7")


def test_without_a_certificate_it_is_upstreams(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from nova.virt.libvirt.volume import remotefs

        with (
            mock.patch("nova.utils.ssh_execute") as ssh,
            mock.patch("oslo_concurrency.processutils.execute") as execute,
        ):
            files = remotefs.RemoteFilesystem()
            files.create_dir("node2", "/x")
            files.copy_file("/a", "node2:/x/a")
        assert ssh.call_args.args == ("node2", "mkdir", "-p", "/x")
        assert execute.call_args.args == ("scp", "-C", "-r", "/a", "node2:/x/a")

    on_freebsd(body, "V7")
