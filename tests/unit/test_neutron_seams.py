"""The pure parts of neutron's seams: settings, commands and configurations, text in and text out."""

from __future__ import annotations

import pytest

from beastack.port.neutron.haproxy_config import adapt_config
from beastack.port.neutron.namespace_jail import is_without_jail, wrap_command
from beastack.port.neutron.sysctl_keys import translate_setting


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("net.ipv4.ip_forward=1", "sysctl net.inet.ip.forwarding=1"),
        ("net.ipv4.ip_forward=0", "sysctl net.inet.ip.forwarding=0"),
        ("net.ipv6.conf.all.forwarding=1", "sysctl net.inet6.ip6.forwarding=1"),
        ("net.ipv6.conf.tap0.forwarding=0", "sysctl net.inet6.ip6.forwarding=0"),
        ("net.ipv6.conf.default.accept_ra=0", "sysctl net.inet6.ip6.accept_rtadv=0"),
        ("net.ipv6.conf.tap0.accept_ra=2", "ifconfig tap0 inet6 accept_rtadv"),
        ("net.ipv6.conf.tap0.accept_ra=0", "ifconfig tap0 inet6 -accept_rtadv"),
        ("net.ipv6.conf.em0/7.disable_ipv6=1", "ifconfig em0.7 inet6 ifdisabled"),
        ("net.ipv6.conf.lo.disable_ipv6=0", "ifconfig lo0 inet6 -ifdisabled"),
        ("net.ipv6.conf.default.disable_ipv6=1", ""),
        ("net.ipv4.ip_nonlocal_bind=1", ""),
        ("net.ipv4.conf.all.arp_announce=2", ""),
        ("net.netfilter.nf_conntrack_tcp_be_liberal=1", ""),
    ],
)
def test_settings_have_counterparts(setting: str, words: str) -> None:
    assert translate_setting(setting) == words.split()


@pytest.mark.parametrize(
    "setting",
    [
        "net.ipv4.conf.all.send_redirects=0", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.tap0.proxy_ndp=1",
        "net.ipv4.ip_forward", "net.ipv4.ip_forward=", "net.ipv4.ip_forward=x", "net.ipv4.ip_forward=1 0", "",
    ],
)  # fmt: skip
def test_settings_without_one_are_told(setting: str) -> None:
    assert translate_setting(setting) is None


def test_a_command_is_wrapped_for_its_jail_and_its_environment() -> None:
    assert wrap_command(None, ["a", 1], {}) == ["a", 1]
    assert wrap_command(None, ["a"], {"B": "c d"}) == ["env", "B=c d", "a"]
    assert wrap_command("j", ["a"], None) == ["jexec", "j", "a"]
    assert wrap_command("j", ["a"], {"B": 1}) == ["jexec", "j", "env", "B=1", "a"]


def test_a_jail_that_is_not_there_is_told_from_other_failures() -> None:
    assert is_without_jail('Stderr: jexec: jail "j" not found\n', "j")
    assert is_without_jail('jexec: jail "j" is dying', "j")
    assert not is_without_jail('jexec: jail "other" not found', "j")
    assert not is_without_jail("jexec: execvp: dnsmasq: No such file or directory", "j")


@pytest.mark.parametrize("address", ["fe80::a9fe:a9fe", "[fe80::a9fe:a9fe]"])
def test_two_lines_of_the_proxys_configuration_change(address: str) -> None:
    text = (
        "global\n    log         /dev/log local0 info\n    log-tag     /dev/log-like\n"
        f"listen l\n    bind 169.254.169.254:80\n    bind {address}:80 interface tap11111111-22\n    server s /s\n"
    )
    assert adapt_config(text) == (
        "global\n    log         /var/run/log local0 info\n    log-tag     /dev/log-like\n"
        "listen l\n    bind 169.254.169.254:80\n    bind [::]:80 v6only\n    server s /s\n"
    )


def test_a_configuration_without_ipv6_is_left() -> None:
    text = "listen l\n    bind 0.0.0.0:9697\n    \n    server s /s\n"
    assert adapt_config(text) == text
