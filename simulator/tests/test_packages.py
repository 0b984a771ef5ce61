"""Packages of a simulated host: what they bring, that they stay, and that what is offered can be set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_a_host_has_every_package_unless_it_was_made_bare(new_host: Callable[..., Any], simulator: Any) -> None:
    full = new_host("full")
    assert full("pkg info -e haproxy openvswitch && test -x /usr/local/sbin/ovs-vswitchd").returncode == 0
    bare = new_host("bare", "--bare")
    assert bare("test -e /usr/local/sbin/ovs-vswitchd").returncode == 1
    assert bare("ls /usr/local/etc/rc.d").stdout == ""


def test_a_package_brings_its_files_and_takes_them_with_it(new_host: Callable[..., Any], simulator: Any) -> None:
    run = new_host("kept", "--bare")
    assert run("pkg install -q -y openvswitch rabbitmq").returncode == 0
    listed = run("pkg query %Fp openvswitch").stdout.split()
    assert {"/usr/local/sbin/ovs-vswitchd", "/usr/local/etc/rc.d/ovsdb-server"} <= set(listed)
    assert run("service ovs-vswitchd rcvar").returncode == 0
    # The disk outlives a stop, and an administrator's own files a package.
    assert run("echo mine > /usr/local/etc/rc.d/mine").returncode == 0
    simulator.run("stop", "--name", "kept")
    simulator.start("kept")
    assert run("pkg info -e openvswitch").returncode == 0
    assert run("pkg delete -q -y openvswitch erlang-runtime27").returncode == 0
    assert run("ls /usr/local/sbin /usr/local/lib /usr/local/etc/rc.d").stdout.split() == [
        "/usr/local/etc/rc.d:", "mine", "/usr/local/lib:", "/usr/local/sbin:",
    ]  # fmt: skip


def test_what_the_repository_offers_can_be_set(new_host: Callable[..., Any], simulator: Any) -> None:
    run = new_host("offers", "--bare")
    assert simulator.run("offer", "--name", "offers", "haproxy=9.9_1,2", "dnsmasq=").returncode == 0
    assert run("pkg rquery '%n %v' haproxy dnsmasq").stdout == "haproxy 9.9_1,2\n"
    assert simulator.run("offer", "--name", "offers", "dnsmasq=2.0").returncode == 0
    assert run("pkg rquery '%v' dnsmasq").stdout == "2.0\n"
    refused = simulator.run("offer", "--name", "offers", "frob=1")
    assert refused.returncode == 1 and "frob is no package" in refused.stderr


def test_packages_that_others_brought_say_so(new_host: Callable[..., Any]) -> None:
    run = new_host("python", "--bare")
    prefix = run("pkg rquery -x %n '^py3[0-9]+-cryptography'").stdout.strip()
    assert run(f"pkg install -q -y {prefix}").returncode == 0
    automatic = run("pkg query '%a %n' -a || pkg query -a '%a %n'").stdout.split("\n")
    assert f"0 {prefix}" in automatic and "1 libffi" in automatic
