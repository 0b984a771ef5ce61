"""One openvswitch agent for one configuration."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from beastack.port.neutron.ovs_agent import find_file, hold


def test_the_file_on_a_command_line() -> None:
    assert find_file(["--config-file=/etc/x.conf"]) == "/etc/x.conf"
    assert find_file(["--verbose", "--config-file", "/etc/y.conf", "--config-file=/z"]) == "/etc/y.conf"
    assert find_file(["--config-dir=/etc"]) is None
    assert find_file(["--config-file"]) is None


def test_the_second_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.conf"
    path.write_text("")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(SystemExit, match="another openvswitch agent runs"):
        hold(str(path))
    os.close(descriptor)
    hold(str(path))
    path.unlink()  # as when it is written anew
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="cannot be locked"):
        hold(str(tmp_path / "none" / "file"))
