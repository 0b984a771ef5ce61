"""N4, N5 and C4: upstream's namespaces and their settings, as vnet jails."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import pytest

OnFreeBSD = Callable[..., None]
Answer = tuple[str, str, int]
JAIL = "qdhcp-3f1c5e0e-6c0a-4d51-9c0c-5b1d2c7b9f10"


@contextlib.contextmanager
def privileged_commands(answer: Answer = ("", "", 0)) -> Iterator[list[list[str]]]:
    """Stand in for the privileged daemon: the commands it is asked to run are noted."""
    from neutron.privileged.agent.linux import utils

    ran: list[list[str]] = []

    def execute_process(command: Sequence[str], text: Any, variables: Any) -> Answer:
        ran.append(list(command))
        return answer

    with mock.patch.object(utils, "execute_process", execute_process):
        yield ran


def test_without_it_a_namespace_is_entered_by_ip(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from neutron.agent.linux import ip_lib

        with privileged_commands() as ran:
            ip_lib.IPWrapper(JAIL).netns.execute(["true"], privsep_exec=True)
            assert ip_lib.sysctl(["net.ipv4.ip_forward=1"], JAIL) == 0
        assert ran[0][:2] == ["ip", "netns"]
        assert ran[1][-1] == "net.ipv4.ip_forward=1"

    on_freebsd(body)


def test_a_command_runs_in_the_jail_by_the_privileged_daemon(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from neutron.agent.linux import ip_lib

        with privileged_commands(("out", "err", 3)) as ran:
            netns = ip_lib.IPWrapper(JAIL).netns
            # As upstream starts dnsmasq: as root, and not by the privileged daemon.
            said = netns.execute(["dnsmasq", "-x"], addl_env={"A": "b c"}, run_as_root=True, extra_ok_codes=[3])
            assert netns.execute(["false"], check_exit_code=False) == "out"
            with pytest.raises(RuntimeError):
                netns.execute(["false"])
        assert said == "out"
        assert ran == [["jexec", JAIL, "env", "A=b c", "dnsmasq", "-x"], *([["jexec", JAIL, "false"]] * 2)]

    on_freebsd(body, "N4")


def test_a_command_on_the_host_is_run_as_it_is(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from neutron.agent.linux import ip_lib

        with privileged_commands() as ran:
            netns = ip_lib.IPWrapper().netns
            assert netns.execute(["echo", "unprivileged"]) == "unprivileged\n"
            with pytest.raises(FileNotFoundError):
                netns.execute(["no-such-program"])
            netns.execute(["kill", "-1", "1"], addl_env={"A": "b"}, run_as_root=True)
        assert ran == [["env", "A=b", "kill", "-1", "1"]]

    on_freebsd(body, "N4")


def test_a_namespace_is_made_once_with_its_loopback_up(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from neutron.agent.linux import ip_lib

        from beastack.port.neutron import namespace_jail

        with mock.patch.object(ip_lib, "privileged") as asked, mock.patch.object(namespace_jail, "is_there") as there:
            there.side_effect = [False, True]
            first, again = ip_lib.IPWrapper().ensure_namespace(JAIL), ip_lib.IPWrapper().ensure_namespace(JAIL)
            ip_lib.IPWrapper().netns.delete(JAIL)
            assert not ip_lib.IPWrapper().netns.exists(None)
        assert first.namespace == again.namespace == JAIL
        assert [call[0] for call in asked.method_calls] == ["create_netns", "set_link_attribute", "remove_netns"]
        assert asked.set_link_attribute.call_args == mock.call("lo", JAIL, state="up")

    on_freebsd(body, "N4")


def test_a_signal_in_a_jail_that_is_gone_is_no_error(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        import os
        import tempfile

        from neutron.agent.linux import external_process
        from oslo_config import cfg

        with tempfile.TemporaryDirectory() as directory:
            cfg.CONF.set_override("external_pids", directory)
            # What it looks for on the command line of the process: our own is that of a Python.
            manager = external_process.ProcessManager(cfg.CONF, "python", namespace=JAIL, service="x")
            with open(manager.get_pid_file_name(), "w") as file:
                file.write(str(os.getpid()))
            gone = f'jexec: jail "{JAIL}" not found\n'
            with privileged_commands(("", gone, 1)) as ran:
                manager.disable("15", delete_pid_file=False)
            with privileged_commands(("", "kill: 1: Operation not permitted\n", 1)), pytest.raises(RuntimeError):
                manager.disable("15", delete_pid_file=False)
        assert ran == [["jexec", JAIL, "env", "PROCESS_TAG=x-python", "kill", "-15", os.getpid()]]

    on_freebsd(body, "N1", "N2", "N4")


def test_settings_by_the_names_of_freebsd(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from neutron.agent.linux import interface, ip_lib

        with privileged_commands() as ran:
            ip_lib.set_ip_nonlocal_bind_for_namespace(JAIL, 1, root_namespace=True)
            driver = interface.LinuxInterfaceDriver
            driver.configure_ipv6_ra(JAIL, "default", 0)
            driver.configure_ipv6_ra(JAIL, "tap0", 2)
            driver.configure_ipv6_forwarding(JAIL, "all", True)
            with mock.patch("oslo_utils.netutils._IS_IPV6_ENABLED", True):
                ip_lib.IPDevice("em0.7").disable_ipv6()
            assert ip_lib.sysctl(["net.ipv4.ip_forward=1", "net.ipv4.conf.all.arp_ignore=1"], JAIL) == 0
            assert ip_lib.sysctl(["net.ipv4.conf.all.send_redirects=0", "net.ipv4.ip_forward=0"], JAIL) == 1
        assert ran == [
            ["jexec", JAIL, "sysctl", "net.inet6.ip6.accept_rtadv=0"],
            ["jexec", JAIL, "ifconfig", "tap0", "inet6", "accept_rtadv"],
            ["jexec", JAIL, "sysctl", "net.inet6.ip6.forwarding=1"],
            ["ifconfig", "em0.7", "inet6", "ifdisabled"],
            ["jexec", JAIL, "sysctl", "net.inet.ip.forwarding=1"],
            ["jexec", JAIL, "sysctl", "net.inet.ip.forwarding=0"],
        ]
        with privileged_commands(("", "ifconfig: interface tap0 does not exist\n", 1)):
            assert ip_lib.sysctl(["net.ipv6.conf.tap0.accept_ra=0"], JAIL) == 1

    on_freebsd(body, "N4", "N5")


def test_whether_there_is_ipv6(on_freebsd: OnFreeBSD) -> None:
    def without() -> None:
        from oslo_utils import netutils

        assert not netutils.is_ipv6_enabled()

    on_freebsd(without)

    def ask(answer: Any) -> bool:
        from oslo_utils import netutils

        from beastack.freebsd import sysctl
        from beastack.port.oslo import ipv6_enabled
        from beastack.seams.install import apply

        with mock.patch.object(sysctl, "read_integer", side_effect=answer) as read:
            apply(ipv6_enabled.SEAM, netutils)
        assert read.call_args == mock.call("kern.features.inet6")
        enabled: bool = netutils.is_ipv6_enabled()
        return enabled

    def body() -> None:
        from beastack.freebsd.errors import SysctlNotFound

        assert ask([1]) is True
        assert ask(SysctlNotFound(["sysctl"], 1, "", "sysctl: unknown oid 'kern.features.inet6'")) is False

    on_freebsd(body)
