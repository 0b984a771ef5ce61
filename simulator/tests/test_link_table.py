"""The table of links against what Linux says when it is asked for everything. Root only."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from freebsd_sim.kernel.link_table import LinkTable
from network_host import NetworkHost

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[NetworkHost]:
    made = NetworkHost(tmp_path / "root")
    yield made
    made.close()


def read_anew(host: NetworkHost) -> LinkTable:
    fresh = host.kernel.jails.host.stack.run(LinkTable)
    fresh.update()
    fresh.close()
    return fresh


def test_what_is_heard_is_what_is_there(host: NetworkHost) -> None:
    links = host.kernel.jails.host.stack.links
    host.run("bridge", "create")
    for number in range(5):
        host.run("epair", "create", "mtu", str(1400 + number), "promisc", "up")
        host.run("bridge0", "addm", f"epair{number}b")
    host.run("tap", "create", "name", "tapped", "ether", "02:00:00:00:00:01")
    host.run("epair1a", "name", "renamed")
    host.run("bridge0", "deletem", "epair2b")
    host.run("epair3a", "destroy")
    host.add_jail("cell")
    host.run("epair4a", "vnet", "cell")
    links.update()
    assert links.links == read_anew(host).links
    assert {"lo0", "tapped", "renamed", "epair2b"} <= {link.name for link in links.links.values()}
    assert links.find("tapped") == links.look(next(i for i, link in links.links.items() if link.name == "tapped"))
    assert links.find("nosuch") is None and links.find("a-name-that-is-too-long") is None


def test_lost_notifications_are_made_up_for(host: NetworkHost) -> None:
    table = host.kernel.jails.host.stack.run(LinkTable)
    table.update()
    table.events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(10):
        host.run("epair", "create")
    host.run("epair3a", "destroy")
    changed = table.update()
    assert table.links == read_anew(host).links
    assert changed >= {link.index for link in table.links.values() if link.name.startswith("epair")}
    table.close()


def test_only_what_changed_is_told(host: NetworkHost) -> None:
    table = host.kernel.jails.host.stack.run(LinkTable)
    host.run("epair", "create")
    table.update()
    assert table.update() == set()
    host.run("epair0a", "mtu", "1400")
    assert {table.links[index].name for index in table.update()} == {"epair0a"}
    host.run("epair0a", "destroy")
    gone = table.update()
    assert len(gone) == 2 and not gone & table.links.keys()
    table.close()
