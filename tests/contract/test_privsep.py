"""C1 and C2: upstream's privileged daemon, forked, asked and ended on a system without capabilities."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

OnFreeBSD = Callable[..., None]


def make_context() -> Any:
    """Return upstream's own context for tests, with its options set and not to be root's."""
    from oslo_config import cfg
    from oslo_privsep.tests import testctx

    cfg.CONF([])
    context = testctx.context
    for name, value in (("user", None), ("group", None), ("capabilities", [])):
        cfg.CONF.set_override(name, value, group=context.cfg_section)
    return context


def test_without_them_the_daemon_ends(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from oslo_privsep import daemon

        with pytest.raises((NameError, TypeError)):
            daemon.Daemon(None, make_context())._drop_privs()
        with socket.socket() as sock, pytest.raises(NameError):
            daemon.set_cloexec(sock)

    on_freebsd(body)


def test_the_daemon_passes_over_capabilities(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from oslo_privsep import capabilities, daemon

        daemon.Daemon(None, make_context())._drop_privs()
        assert [list(some) for some in capabilities.get_caps()] == [[], [], []]

    on_freebsd(body, "C1")


def test_a_forked_daemon_serves(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from oslo_privsep import priv_context
        from oslo_privsep.tests.unit import test_priv_context as upstream

        context = make_context()
        context.start(priv_context.Method.FORK)
        try:
            assert upstream.priv_getpid() != os.getpid()
            assert upstream.add1(41) == 42
            with pytest.raises(RuntimeError):
                upstream.fail()
        finally:
            context.stop()

    on_freebsd(body, "C1", "C2")


def test_names_of_users_and_groups(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from oslo_privsep import daemon

        # Of number 0: upstream has nothing to change for it.
        daemon.setuid("root")
        daemon.setgid(0)
        with pytest.raises(KeyError):
            daemon.setuid("no-such-user")
        with pytest.raises(KeyError):
            daemon.setgid("no-such-group")

    on_freebsd(body, "C2")


def test_sockets_are_closed_on_exec(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from oslo_privsep import daemon

        with socket.socket() as sock:
            sock.set_inheritable(True)
            daemon.set_cloexec(sock)
            assert not sock.get_inheritable()

    on_freebsd(body, "C2")


def test_where_there_are_capabilities_upstreams_functions_run(apart: Callable[..., None]) -> None:
    def body() -> None:
        from beastack.port.seams import ALL
        from beastack.seams.install import install

        install([seam for seam in ALL if seam.id == "C1"], ())
        from oslo_privsep import capabilities

        with open("/proc/self/status") as status:
            held = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
        assert sum(1 << number for number in capabilities.get_caps()[0]) == held

    apart(body)
