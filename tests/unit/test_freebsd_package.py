"""pkg(8) as the host library reads and drives it; texts as its sources print them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beastack.freebsd import package
from beastack.freebsd.command import CommandError
from beastack.freebsd.errors import PackageNotFound, PermissionDenied
from recorded_commands import Commands, play


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    yield from play(monkeypatch)


def test_versions_are_told_by_the_names_that_were_asked(commands: Commands) -> None:
    commands.expect(["pkg", "query", "%n %v", "py311-pynacl", "rust"], "py311-PyNaCl 1.6.2_1\n")
    assert package.read_installed(["py311-pynacl", "rust"]) == {"py311-pynacl": "1.6.2_1"}
    commands.expect(["pkg", "rquery", "%n %v", "haproxy"], "haproxy 3.2.4\n")
    assert package.read_offered(["haproxy"]) == {"haproxy": "3.2.4"}
    assert package.read_installed([]) == {}


@pytest.mark.parametrize("status", [1, 69])
def test_nothing_found_is_no_error(commands: Commands, status: int) -> None:
    commands.expect(["pkg", "query", "%n %v", "rust"], status=status)
    assert package.read_installed(["rust"]) == {}


def test_a_catalogue_that_cannot_be_read_is_one(commands: Commands) -> None:
    commands.expect(["pkg", "rquery", "%n %v", "rust"], "", "pkg: Unable to update repository FreeBSD\n", status=1)
    with pytest.raises(CommandError, match="Unable to update repository"):
        package.read_offered(["rust"])


def test_files_are_those_of_all_the_packages(commands: Commands) -> None:
    commands.expect(["pkg", "query", "%Fp", "a", "b"], "/usr/local/a\n/usr/local/b c\n")
    assert package.read_files(["a", "b"]) == ["/usr/local/a", "/usr/local/b c"]
    assert package.read_files([]) == []


def test_installing_asks_nobody_and_names_what_is_not_there(commands: Commands) -> None:
    commands.expect("pkg install -y haproxy dnsmasq")
    package.install(["haproxy", "dnsmasq"])
    assert commands.options["env"] == {"ASSUME_ALWAYS_YES": "yes"}
    text = "pkg: No packages available to install matching 'nope' have been found in the repositories\n"
    commands.expect("pkg install -y nope", "", text, status=1)
    with pytest.raises(PackageNotFound, match="matching 'nope'"):
        package.install(["nope"])
    commands.expect("pkg delete -y nope", "", "pkg: Insufficient privileges to delete packages\n", status=1)
    with pytest.raises(PermissionDenied):
        package.delete(["nope"])


@pytest.mark.parametrize(("status", "there"), [(0, True), (1, False)])
def test_pkg_itself_may_not_be_there(commands: Commands, status: int, there: bool) -> None:
    commands.expect("pkg -N", status=status)
    assert package.is_bootstrapped() is there
