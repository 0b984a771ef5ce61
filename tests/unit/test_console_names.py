"""Names of consoles and of their lines: what may be asked for, and nothing beside."""

from __future__ import annotations

import pytest

from beastack.console.names import Key, Nmdm, Tcp, check_uuid, make_key, parse_key, parse_line
from beastack.console.peer import parse_xucred

UUID = "5b6f9d0e-28f1-4d0a-9a4b-0c6d3f1e2a10"
OTHER = "5b6f9d0e-28f1-4d0a-9a4b-0c6d3f1e2a11"
PORTS = range(20000, 20010)


def test_the_first_port_has_the_pair_that_libvirt_would_choose() -> None:
    assert make_key(UUID).pair.a == f"/dev/nmdm{UUID}A"
    assert make_key(UUID, 3).pair.b == f"/dev/nmdm{UUID}.3B"


def test_a_key_is_read_as_it_is_written() -> None:
    for key in (Key(UUID), Key(UUID, 1), Key(UUID, 3)):
        assert parse_key(str(key)) == key


@pytest.mark.parametrize(
    "text",
    [
        *("", UUID[:-1], f"{UUID}0", UUID.upper(), f"{UUID}.0", f"{UUID}.4", f"{UUID}.", f"{UUID}.1 ", f"{UUID}\n"),
        *("../../../../../../../../../../../../x", f"{UUID}A", "-" * 36, f"{UUID}.1.1", "\uff15" + UUID[1:]),
    ],
)
def test_what_names_no_console(text: str) -> None:
    with pytest.raises(ValueError, match=r"no console|no instance"):
        parse_key(text)


@pytest.mark.parametrize("uuid", [None, 1, [], {}, "", UUID + "\n", UUID.replace("-", ""), "/" + UUID[1:]])
def test_what_is_no_identifier(uuid: object) -> None:
    with pytest.raises(ValueError, match="no instance"):
        check_uuid(uuid)


@pytest.mark.parametrize("index", [-1, 4, True, "0", 1.0, None])
def test_what_is_no_serial_port(index: object) -> None:
    with pytest.raises(ValueError, match="serial port"):
        make_key(UUID, index)


def test_lines() -> None:
    assert parse_line(f"/dev/nmdm{UUID}.1B", Key(UUID, 1), PORTS) == Nmdm(Key(UUID, 1))
    assert parse_line("tcp:127.0.0.1:20001", Key(UUID), PORTS) == Tcp("127.0.0.1", 20001)
    for text in ("tcp:[::1]:20001", "tcp:127.0.0.1:20009", f"/dev/nmdm{UUID}B"):
        assert str(parse_line(text, Key(UUID), PORTS)) == text


@pytest.mark.parametrize(
    "line",
    [
        *(None, 1, "", "/dev/null", f"/dev/nmdm{UUID}A", f"/dev/nmdm{OTHER}B", f"/dev/nmdm{UUID}.1B", "/dev/nmdm0B"),
        *(f"/tmp/nmdm{UUID}B", f"/dev/../dev/nmdm{UUID}B", f"nmdm{UUID}B", "tcp:127.0.0.1:19999"),
        *("tcp:127.0.0.1:20010", "tcp:10.0.0.1:20001", "tcp:127.0.0.1:020001", "tcp:localhost:20001"),
        *("tcp:[127.0.0.1]:20001", "tcp:::1:20001", "tcp:127.0.0.1:20001\n", "tcp:0.0.0.0:20001"),
    ],
)
def test_lines_that_are_not_this_console_s(line: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_line(line, Key(UUID), PORTS)


def test_the_peer_in_freebsd_s_structure() -> None:
    assert parse_xucred((0).to_bytes(4, "little") + (1001).to_bytes(4, "little") + bytes(80)) == 1001
    for wrong in (b"", bytes(87), (1).to_bytes(4, "little") + bytes(84)):
        with pytest.raises(OSError, match="peer"):
            parse_xucred(wrong)
