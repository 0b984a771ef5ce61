"""Tracked connections as ovs-vswitchd prints and takes them."""

from __future__ import annotations

import ipaddress

import pytest

from beastack.port.neutron.conntrack_entries import Connection, format_tuple, is_deletable, parse_connections

TCP = (
    "tcp,orig=(src=10.0.0.5,dst=10.0.0.9,sport=40000,dport=22),reply=(src=10.0.0.9,dst=10.0.0.5,sport=22,dport=40000),"
    "zone=3,mark=1,labels=0x4,protoinfo=(state=ESTABLISHED)"
)
UDP6 = "udp,orig=(src=fd00::1,dst=fd00::2,sport=5,dport=53),reply=(src=fd00::2,dst=fd00::1,sport=53,dport=5),zone=4095"
PING = (
    "icmp,orig=(src=10.77.0.1,dst=10.77.0.2,id=29575,type=8,code=0),"
    "reply=(src=10.77.0.2,dst=10.77.0.1,id=29575,type=0,code=0),zone=5"
)
PING6 = (
    "icmpv6,orig=(src=fd77::1,dst=fd77::2,id=7,type=128,code=0),reply=(src=fd77::2,dst=fd77::1,id=7,type=129,code=0)"
)


def read(line: str) -> Connection:
    (connection,) = parse_connections(line + "\n")
    return connection


def test_a_line_is_read() -> None:
    assert read(TCP) == Connection(
        6, ipaddress.ip_address("10.0.0.5"), ipaddress.ip_address("10.0.0.9"), 40000, 22, zone=3, mark=1
    )
    assert (read(UDP6).protocol, read(UDP6).zone, read(UDP6).mark) == (17, 4095, 0)
    assert (read(PING).icmp_id, read(PING).icmp_type, read(PING).icmp_code) == (29575, 8, 0)
    assert (read(PING6).protocol, read(PING6).zone) == (58, 0)
    assert read(TCP.replace("tcp", "47", 1)).protocol == 47


def test_what_is_no_connection_is_passed_over() -> None:
    text = f"{TCP}\n\nsomething else\nnothing,orig=(src=a,dst=b),reply=()\n{PING}\n"
    assert [connection.protocol for connection in parse_connections(text)] == [6, 1]


def test_the_tuple_to_delete_it_by() -> None:
    assert format_tuple(read(TCP)) == "ct_nw_src=10.0.0.5,ct_nw_dst=10.0.0.9,ct_nw_proto=6,ct_tp_src=40000,ct_tp_dst=22"
    assert format_tuple(read(UDP6)) == "ct_ipv6_src=fd00::1,ct_ipv6_dst=fd00::2,ct_nw_proto=17,ct_tp_src=5,ct_tp_dst=53"
    assert (
        format_tuple(read(PING))
        == "ct_nw_src=10.77.0.1,ct_nw_dst=10.77.0.2,ct_nw_proto=1,icmp_id=29575,icmp_type=8,icmp_code=0"
    )


def test_icmp6_is_never_deleted() -> None:
    assert not is_deletable(read(PING6))
    with pytest.raises(ValueError, match="would abort"):
        format_tuple(read(PING6))
