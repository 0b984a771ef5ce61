"""Kernel state by name: many names in one reading, writing, and each refusal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beastack.freebsd import sysctl
from beastack.freebsd.command import CommandError, CommandNotFound
from beastack.freebsd.errors import (
    InvalidArgument,
    JailDying,
    JailNotFound,
    PermissionDenied,
    SysctlNotFound,
    SysctlReadOnly,
)
from recorded_commands import Commands, golden, play


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    yield from play(monkeypatch)


def test_many_names_are_one_command_and_keep_their_exact_text(commands: Commands) -> None:
    names = ["hw.ncpu", "hw.model", "kern.cp_time", "kern.version", "kern.module_path", "vm.loadavg"]
    commands.expect(["sysctl", *names], golden("sysctl/mixed-14.4.txt"))
    values = sysctl.read_values(names)
    assert values.integer("hw.ncpu") == 8
    assert values.text("hw.model") == "AMD EPYC 7313P 16-Core Processor                "
    assert values.integers("kern.cp_time") == (123456, 789, 45678, 910, 9876543)
    assert values.text("kern.version") == "FreeBSD 14.4-RELEASE releng/14.4-n267000-abcdef GENERIC"
    assert values.text("kern.module_path") == "/boot/kernel;/boot/modules"
    assert set(values) == set(names)
    assert "kern.hostname" not in values


def test_an_empty_value_is_an_empty_text_and_numbers_may_be_negative(commands: Commands) -> None:
    names = ["security.mac.do.rules", "dev.cpu.0.cx_supported", "hw.vmm.vmx.initialized"]
    commands.expect(["sysctl", *names], golden("sysctl/mixed-15.1.txt"))
    values = sysctl.read_values(names)
    assert values.text("security.mac.do.rules") == ""
    assert values.text("dev.cpu.0.cx_supported") == "C1/1/1 C2/2/41"
    assert values.integer("hw.vmm.vmx.initialized") == -1


def test_a_value_of_several_lines_is_kept_whole() -> None:
    values = sysctl.parse_values("a.xml: <x>\n <y/>\n</x>\n\nb: 1\n", ["a.xml", "b"])
    assert dict(values.texts) == {"a.xml": "<x>\n <y/>\n</x>", "b": "1"}


@pytest.mark.parametrize(("text", "number"), [("12", 12), ("-3", -3), ("0x1f", 31), (" 010 ", 10), ("-0x2", -2)])
def test_numbers_are_decimal_or_hexadecimal(text: str, number: int) -> None:
    assert sysctl.parse_integer(text) == number


def test_one_name_as_text_number_or_numbers(commands: Commands) -> None:
    commands.expect("sysctl kern.hostname", "kern.hostname: compute1.example.org\n")
    commands.expect("sysctl hw.ncpu", "hw.ncpu: 4\n")
    commands.expect("sysctl kern.cp_time", "kern.cp_time: 1 2 3 4 5\n")
    assert sysctl.read_text("kern.hostname") == "compute1.example.org"
    assert sysctl.read_integer("hw.ncpu") == 4
    assert sysctl.read_integers("kern.cp_time") == (1, 2, 3, 4, 5)
    commands.expect("sysctl kern.hostname", "kern.hostname: x\n")
    with pytest.raises(ValueError):
        sysctl.read_integer("kern.hostname")


def test_optional_names_are_left_out_and_required_ones_are_not(commands: Commands) -> None:
    commands.expect("sysctl -i hw.ncpu no.such", "hw.ncpu: 2\n")
    values = sysctl.read_values(["hw.ncpu"], optional=["no.such"])
    assert "no.such" not in values
    commands.expect("sysctl -i hw.ncpu no.such", "no.such: 1\n")
    with pytest.raises(SysctlNotFound, match=r"no value for hw\.ncpu"):
        sysctl.read_values(["hw.ncpu"], optional=["no.such"])


def test_a_value_that_is_silently_left_out_is_not_found(commands: Commands) -> None:
    commands.expect("sysctl hw.ncpu kern.secret", "hw.ncpu: 2\n")
    with pytest.raises(SysctlNotFound):
        sysctl.read_values(["hw.ncpu", "kern.secret"])


def test_reading_and_writing_inside_a_jail(commands: Commands) -> None:
    name = "net.inet.ip.forwarding"
    commands.expect(["sysctl", "-j", "qrouter-1", name], f"{name}: 0\n")
    commands.expect(["sysctl", "-j", "qrouter-1", f"{name}=1"], golden("sysctl/write-15.1.txt"))
    commands.expect(["sysctl", "-j", "qrouter-1", "-i", name, "a.b"], f"{name}: 1\n")
    assert sysctl.read_integer(name, jail="qrouter-1") == 0
    sysctl.write_value(name, 1, jail="qrouter-1")
    assert sysctl.read_values([name], optional=["a.b"], jail="qrouter-1").integer(name) == 1


def test_writing_several_names_is_one_command(commands: Commands) -> None:
    commands.expect(["sysctl", "a.b=1", "c.d=two words"])
    sysctl.write_values({"a.b": 1, "c.d": "two words"})


@pytest.mark.parametrize(
    ("stdout", "stderr", "kind"),
    [
        ("", "sysctl: unknown oid 'a.b'\n", SysctlNotFound),
        ("", "sysctl: oid 'a.b' is read only\n", SysctlReadOnly),
        (
            "",
            "sysctl: oid 'a.b' is a read only tunable\nsysctl: Tunable values are set in /boot/loader.conf\n",
            SysctlReadOnly,
        ),
        ("", "sysctl: oid 'a.b' isn't a leaf node\n", InvalidArgument),
        ("", "sysctl: invalid integer 'x'\n", InvalidArgument),
        ("", "sysctl: invalid unsigned integer 'x'\n", InvalidArgument),
        ("", "sysctl: invalid uint8_t 'x'\n", InvalidArgument),
        ("", "sysctl: empty numeric value\n", InvalidArgument),
        ("", "sysctl: oid 'a.b' is type 5, cannot set that\n", InvalidArgument),
        ("a.b: 1\n", "sysctl: a.b=x: Invalid argument\n", InvalidArgument),
        ("a.b: 1\n", "sysctl: a.b=x: Result too large\n", InvalidArgument),
        ("a.b: 1\n", "sysctl: a.b=x: Operation not permitted\n", PermissionDenied),
        ("", 'sysctl: jail "j" not found\n', JailNotFound),
        ("", "sysctl: jail 99 not found\n", JailNotFound),
        ("", 'sysctl: jail "j" is dying\n', JailDying),
    ],
)
def test_each_refusal_has_its_class(commands: Commands, stdout: str, stderr: str, kind: type[CommandError]) -> None:
    commands.expect("sysctl -j j a.b=x", stdout, stderr, status=1)
    with pytest.raises(kind) as caught:
        sysctl.write_value("a.b", "x", jail="j")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.stderr) == (1, stderr)


def test_the_status_counts_the_names_that_failed(commands: Commands) -> None:
    commands.expect("sysctl a b", "", "sysctl: unknown oid 'a'\nsysctl: unknown oid 'b'\n", status=2)
    with pytest.raises(SysctlNotFound):
        sysctl.read_values(["a", "b"])


def test_what_is_not_known_stays_a_plain_failure(commands: Commands) -> None:
    commands.expect("sysctl a", "", "sysctl: something else\n", status=1)
    with pytest.raises(CommandError) as caught:
        sysctl.read_text("a")
    assert type(caught.value) is CommandError
    commands.expect("sysctl a", status=None)
    with pytest.raises(CommandNotFound):
        sysctl.read_text("a")
