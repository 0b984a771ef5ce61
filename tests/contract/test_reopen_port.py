"""Dead ports: how they are told, and how they are taken out and put back, in a real database."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Apart = Callable[[Callable[[], None]], None]

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")


def test_dead_ports_are_told_by_the_flag(apart: Apart) -> None:
    def body() -> None:
        from beastack.port.neutron.reopen_port import OpenPort, find_dead_ports, find_open_ports

        rows = [
            {"_uuid": 1, "name": "tap1", "type": "", "ofport": 5},
            {"_uuid": 2, "name": "tap2", "type": "system", "ofport": 6},
            {"_uuid": 3, "name": "tap3", "type": "", "ofport": 7},
            {"_uuid": 4, "name": "failed", "type": "", "ofport": -1},
            {"_uuid": 5, "name": "new", "type": "", "ofport": []},
            {"_uuid": 6, "name": "br-int", "type": "internal", "ofport": 65534},
            {"_uuid": 7, "name": "patch-tun", "type": "patch", "ofport": 8},
        ]
        ports = find_open_ports(rows)
        assert [port.name for port in ports] == ["tap1", "tap2", "tap3"]
        flags = {"tap1": ("UP", "PROMISC", "PPROMISC"), "tap2": ("UP", "PROMISC")}
        assert find_dead_ports(ports, flags) == {
            OpenPort(2, "tap2"): "its interface was made again", OpenPort(3, "tap3"): "its interface is gone",
        }  # fmt: skip

    apart(body)


def test_what_does_not_help_is_tried_less_and_less(apart: Apart) -> None:
    def body() -> None:
        from beastack.port.neutron.reopen_port import LONGEST_PAUSE, Pauses

        pauses = Pauses()
        tried = [now for now in range(0, 2000) if pauses.may_try("tap1", float(now))]
        gaps = [later - earlier for earlier, later in itertools.pairwise(tried)]
        assert gaps[:4] == [3, 6, 12, 24] and max(gaps) == LONGEST_PAUSE
        assert pauses.may_try("tap2", 1999.0)
        assert not pauses.may_try("tap1", 2000.0)
        pauses.forget(["tap1"])
        assert pauses.may_try("tap1", 2000.0)

    apart(body)


def serve_database(directory: Path) -> subprocess.Popen[bytes]:
    """Start a database that takes every change for done, with a bridge and a port."""
    database, remote = directory / "conf.db", f"unix:{directory}/db.sock"
    subprocess.run(["ovsdb-tool", "create", str(database), str(SCHEMA)], check=True)
    server = subprocess.Popen(
        ["ovsdb-server", f"--remote=p{remote}", f"--unixctl={directory}/ctl", str(database)],
        stderr=subprocess.DEVNULL,
    )
    call(remote, "--retry", "--no-wait", "init")
    call(remote, "set", "Open_vSwitch", ".", "cur_cfg=100000")
    call(remote, "add-br", "br-int")
    call(remote, "add-port", "br-int", "tap1", "tag=7", "--", "set", "Interface", "tap1", "external_ids:iface-id=p",
         "external_ids:attached-mac=m", "mtu_request=1450")  # fmt: skip
    call(remote, "add-port", "br-int", "em0", "trunks=1,2", "external_ids:x=y")
    return server


def call(remote: str, *words: str) -> str:
    """Run ovs-vsctl, which does not wait for ovs-vswitchd."""
    argv = ["ovs-vsctl", f"--db={remote}", "--no-wait", "--timeout=10", *words]
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@pytest.mark.skipif(not (shutil.which("ovsdb-server") and SCHEMA.exists()), reason="there is no ovsdb-server")
def test_a_port_is_taken_out_and_put_back(apart: Apart, tmp_path: Path) -> None:
    server = serve_database(tmp_path)
    remote = f"unix:{tmp_path}/db.sock"

    def body() -> None:
        from ovsdbapp.backend.ovs_idl import connection
        from ovsdbapp.schema.open_vswitch import impl_idl

        from beastack.port.neutron import reopen_port

        idl = connection.OvsdbIdl.from_server(remote, "Open_vSwitch")
        api = impl_idl.OvsdbIdl(connection.Connection(idl, timeout=10))

        def get(table: str, name: str, column: str) -> Any:
            return call(remote, "--if-exists", "get", table, name, column)

        def see(name: str) -> reopen_port.OpenPort:
            rows = api.db_list("Interface", columns=["_uuid", "name"]).execute(check_error=True)
            return next(reopen_port.OpenPort(row["_uuid"], name) for row in rows if row["name"] == name)

        def extension() -> Any:
            made = reopen_port.ReopenPort()
            made._api = api
            return made

        seen = see("tap1")
        extension().reopen(seen, "test")
        assert see("tap1") != seen
        assert get("Interface", "tap1", "external_ids") == "{attached-mac=m, iface-id=p}"
        assert get("Interface", "tap1", "mtu_request") == "1450"
        # It is neutron's: without a network until the agent has wired it.
        assert [get("Port", "tap1", name) for name in ("tag", "trunks", "vlan_mode")] == ["4095", "[4095]", "trunk"]
        assert get("Bridge", "br-int", "external_ids") == "{}"
        # What was seen is not there any more: nothing is done.
        now = see("tap1")
        extension().reopen(seen, "test")
        assert see("tap1") == now

        extension().reopen(see("em0"), "test")
        assert get("Port", "em0", "trunks") == "[1, 2]" and get("Port", "em0", "external_ids") == "{x=y}"

        # Killed in between: the next agent finishes.
        assert reopen_port.TakeOutCommand(api, see("em0")).execute(check_error=True) == "br-int"
        assert get("Port", "em0", "name") == ""
        extension().put_back()
        assert get("Port", "em0", "trunks") == "[1, 2]"
        # Added by somebody else in between: it stays as it is.
        reopen_port.TakeOutCommand(api, see("em0")).execute(check_error=True)
        call(remote, "add-port", "br-int", "em0", "tag=9")
        extension().put_back()
        assert get("Port", "em0", "tag") == "9" and get("Port", "em0", "trunks") == "[]"
        assert get("Bridge", "br-int", "external_ids") == "{}"

    try:
        apart(body)
    finally:
        server.kill()
        server.wait()
