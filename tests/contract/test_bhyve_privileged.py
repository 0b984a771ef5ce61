"""The driver's privileged daemon, forked as upstream forks one: what it refuses, and how its errors arrive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bhyve_guests import configure

OnFreeBSD = Callable[..., None]


def test_errors_arrive_as_what_they_are(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        configure(tmp_path, bhyve__zfs_dataset="tank/nova", bhyve__guest_log_directory=str(tmp_path),
                  bhyve__guest_state_directory=str(tmp_path))  # fmt: skip
        from oslo_privsep import priv_context

        from beastack.freebsd.errors import InterfaceBusy
        from beastack.port.nova.bhyve import privileged

        def busy(name: str, **named: object) -> None:
            raise InterfaceBusy(("ifconfig", name, "destroy"), None, "", "still open")

        privileged.destroy_interface = busy  # type: ignore[assignment]
        privileged.context.start(priv_context.Method.FORK)
        with pytest.raises(InterfaceBusy) as caught:
            privileged.destroy_tap("tapd3adbeef-01")
        assert caught.value.argv == ("ifconfig", "tapd3adbeef-01", "destroy") and caught.value.stderr == "still open"
        # Names that are not of guests go no further.
        for call in (
            lambda: privileged.destroy_tap("em0"), lambda: privileged.destroy_tap("tapd3adbeef-01 destroy"),
            lambda: privileged.read_guest_log("../../etc/passwd", 10), lambda: privileged.create_machine("-x"),
            lambda: privileged.end_machine("x y"), lambda: privileged.forget_guest("../nova"),
            lambda: privileged.destroy_volume("../ROOT"), lambda: privileged.destroy_volume("a@b"),
            lambda: privileged.destroy_volume("base/../../x"), lambda: privileged.create_snapshot("a", "b c"),
        ):  # fmt: skip
            with pytest.raises(ValueError):
                call()
        (tmp_path / "instance-0000002a.log").write_text("vm_open: Permission denied\n")
        (tmp_path / "linked.log").symlink_to("/etc/hosts")
        for name in ("instance-0000002a.xml", "instance-0000002a.pid", "instance-0000002b.xml"):
            (tmp_path / name).touch()
        assert privileged.read_guest_log("instance-0000002a", 7) == "denied\n"
        assert privileged.read_guest_log("nobody", 7) == ""
        with pytest.raises(OSError):
            privileged.read_guest_log("linked", 7)
        for _ in range(2):
            privileged.forget_guest("instance-0000002a")
        assert sorted(file.name for file in tmp_path.glob("*.*")) == ["instance-0000002b.xml", "linked.log"]

    on_freebsd(body, "C1", "C2", "V1")
