"""N6: upstream's configuration of the metadata proxy, as haproxy takes it without Linux."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

OnFreeBSD = Callable[..., None]
ADDRESS_6 = "fe80::a9fe:a9fe"


def make_config(**changes: Any) -> str:
    """Return what upstream writes for a network with a user's numbers, and IPv6 unless changed."""
    from neutron.agent import dhcp_agent
    from neutron.agent.metadata import driver
    from oslo_config import cfg
    from oslo_log import log

    log.register_options(cfg.CONF)
    dhcp_agent.register_options(cfg.CONF)
    for name, value in changes.pop("limits", {}).items():
        cfg.CONF.set_override(name, value, group="metadata_rate_limiting")
    cfg.CONF.set_override("metadata_proxy_user", str(os.geteuid()))
    cfg.CONF.set_override("metadata_proxy_group", str(os.getegid()))
    settings = {"network_id": "a-network", "bind_address_v6": ADDRESS_6, "bind_interface": "tap0", **changes}
    written: str = driver.MetadataDriver._get_haproxy_configurator(
        "169.254.169.254", 80, cfg.CONF, pid_file="/tmp/p", **settings
    ).haproxy_cfg
    return written


def test_without_it_two_lines_are_linuxs(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        text = make_config()
        assert "/dev/log local0" in text
        assert f"{ADDRESS_6}" in text
        assert ":80 interface tap0" in text

    on_freebsd(body)


def test_only_these_lines_are_changed(on_freebsd: OnFreeBSD) -> None:
    def without() -> None:
        Path(os.environ["COMPARED"]).write_text(make_config())

    def body() -> None:
        before, after = Path(os.environ["COMPARED"]).read_text().splitlines(), make_config().splitlines()
        changed = [(old.split(), new.split()) for old, new in zip(before, after, strict=True) if old != new]
        assert [new for _, new in changed] == [
            ["log", "/var/run/log", "local0", "info"],
            ["bind", "[::]:80", "v6only"],
        ]
        assert "bind 169.254.169.254:80" in "\n".join(after)

    os.environ["COMPARED"] = f"/tmp/haproxy-config-{os.getpid()}"
    try:
        on_freebsd(without)
        on_freebsd(body, "N6")
    finally:
        Path(os.environ.pop("COMPARED")).unlink(missing_ok=True)


def test_without_ipv6_and_with_limits(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        text = make_config(bind_address_v6=None, bind_interface=None, limits={"rate_limit_enabled": True})
        assert "v6only" not in text
        assert "base_rate_limiter" in text
        assert "/dev/log" not in text

    on_freebsd(body, "N6")


@pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin") is None, reason="haproxy is needed")
def test_haproxy_takes_it(on_freebsd: OnFreeBSD, tmp_path: Path) -> None:
    def body() -> None:
        file = tmp_path / "proxy.conf"
        file.write_text(make_config())
        program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
        result = subprocess.run([str(program), "-c", "-f", str(file)], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr

    on_freebsd(body, "N6")
