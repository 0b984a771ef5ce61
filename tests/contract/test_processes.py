"""N1 and N2: upstream's supervision of child processes, without /proc."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

OnFreeBSD = Callable[..., None]
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)", "--name=a b"]


def test_without_them_no_process_is_found(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from neutron.agent.linux import utils

        assert not utils.process_is_running(os.getpid())
        assert utils.get_cmdline_from_pid(os.getpid()) == []

    on_freebsd(body)


def test_whether_a_process_is_running(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from neutron.agent.linux import utils

        with subprocess.Popen(SLEEP) as child:
            assert utils.process_is_running(child.pid)
            assert utils.process_is_running(str(child.pid))
            child.kill()
        assert not utils.process_is_running(child.pid)
        assert [utils.process_is_running(pid) for pid in (None, "", 0)] == [None, "", 0]
        assert [utils.process_is_running(pid) for pid in (-1, "x", 1 << 80)] == [False, False, False]

    on_freebsd(body, "N1")


def test_the_command_line_of_a_process(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from neutron.agent.linux import utils

        with subprocess.Popen(SLEEP) as child:
            assert utils.get_cmdline_from_pid(child.pid) == SLEEP
            assert utils.pid_invoked_with_cmdline(child.pid, SLEEP)
            assert utils.pid_invoked_with_cmdline(str(child.pid), [os.path.basename(SLEEP[0]), *SLEEP[1:]])
            assert not utils.pid_invoked_with_cmdline(child.pid, SLEEP[:-1])
            assert utils.find_fork_top_parent(child.pid) == child.pid
            child.kill()
        assert utils.get_cmdline_from_pid(child.pid) == []
        assert [utils.get_cmdline_from_pid(pid) for pid in (-1, None, "")] == [[], [], []]

    on_freebsd(body, "N1", "N2")


def test_a_title_is_taken_apart(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from unittest import mock

        import psutil
        from neutron.agent.linux import utils

        with mock.patch.object(psutil.Process, "cmdline", lambda self: ["neutron-thing (/usr/bin/python x)"]):
            assert utils.get_cmdline_from_pid(os.getpid()) == ["neutron-thing", "(/usr/bin/python", "x)"]
        with mock.patch.object(psutil.Process, "cmdline", side_effect=psutil.AccessDenied):
            assert utils.get_cmdline_from_pid(os.getpid()) == []

    on_freebsd(body, "N1", "N2")


def test_upstream_sees_its_child_alive_and_ended(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from neutron.agent.common import async_process

        process = async_process.AsyncProcess(SLEEP)
        process.start(block=True)
        assert process.is_active()
        process.stop(block=True)
        assert not process.is_active()

    on_freebsd(body, "N1", "N2")
