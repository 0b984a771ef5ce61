"""Which of Tempest's tests are run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from beastack.cli.main import parser
from beastack.cli.tempest import selection
from beastack.cli.tempest.facts import TempestFailed
from beastack.cli.tempest.selection import Case

ONE, TWO = "11111111-0000-0000-0000-000000000001", "22222222-0000-0000-0000-000000000002"


def test_the_smoke_set_is_that_of_the_services_there_are() -> None:
    option, pattern = selection.smoke_options()
    assert option == "--regex"
    for name, wanted in {
        "tempest.api.network.test_ports.PortsTestJSON.test_list_ports[id-cf95,smoke]": True,
        "tempest.scenario.test_server_basic_ops.TestServerBasicOps.test_it[compute,id-7fff,network,smoke]": True,
        "tempest.api.network.test_ports.PortsTestJSON.test_list_ports[id-cf95]": False,
        "tempest.api.network.test_ports.PortsTestJSON.test_smoke[id-cf95]": False,
        "tempest.api.volume.test_volumes_get.VolumesGetTest.test_it[id-27fb,smoke]": False,
        "tempest.api.object_storage.test_account_services.AccountTest.test_it[id-3499,smoke]": False,
    }.items():
        assert (re.search(pattern, name) is not None) == wanted, name


def test_names_replace_the_smoke_set() -> None:
    assert selection.smoke_options(["test_ports", "test_networks"]) == ["--regex", "test_ports|test_networks"]


def test_the_set_is_named_on_the_command_line_and_smoke_is_the_default() -> None:
    for words, chosen, rest in (
        (["--tempest"], "smoke", []),
        (["--tempest", "scs", "--json"], "scs", []),
        (["--tempest", "--", "test_ports"], "smoke", ["test_ports"]),
        (["--tempest", "scs", "--", "test_ports"], "scs", ["test_ports"]),
        (["--", "tests/unit"], None, ["tests/unit"]),
    ):
        arguments = parser().parse_args(["test", *words])
        assert (arguments.tempest, arguments.arguments) == (chosen, rest), words


# The list of SCS-0128


def test_the_list_has_each_test_once_with_its_id() -> None:
    tests = selection.listed(selection.SCS_LIST.read_text().splitlines())
    assert len(tests) == 258
    assert len({one.name for one in tests}) == len(tests)
    assert all(one.id for one in tests)


def test_the_tests_of_the_volume_service_wait_for_one() -> None:
    areas = [one.name.split(".")[2] for one in selection.scs_tests()]
    assert {area: areas.count(area) for area in sorted(set(areas))} == {
        "compute": 88, "identity": 16, "image": 23, "network": 66,
    }  # fmt: skip


def test_names_choose_from_the_list() -> None:
    assert {one.name.split(".")[2] for one in selection.scs_tests([r"api\.image", "identity"])} == {"identity", "image"}
    assert selection.scs_tests(["no_such_test"]) == []
    with pytest.raises(TempestFailed, match="no regular expression"):
        selection.scs_tests(["("])


def test_comments_are_no_tests() -> None:
    assert selection.listed(["# tempest.api.A.one", "", "tempest.api.A.two[id-x]"]) == [Case("tempest.api.A.two[id-x]")]


def test_tags_are_not_part_of_a_name() -> None:
    assert Case(f"tempest.t.A.one[id-{ONE},smoke]").name == "tempest.t.A.one"
    assert Case(f"tempest.t.A.one[id-{ONE},smoke]").id == ONE
    assert Case("tempest.t.A.one").id == ""


def test_a_test_is_found_by_its_name_whatever_its_tags_are_now() -> None:
    known = [Case(f"tempest.t.A.one[id-{ONE},smoke]"), Case(f"tempest.t.Heir.one[id-{ONE},smoke]")]
    found, unknown = selection.matching([Case(f"tempest.t.A.one[id-{ONE}]")], known)
    assert (found, unknown) == (known[:1], [])


def test_a_test_that_was_renamed_is_found_by_its_id() -> None:
    known = [Case(f"tempest.t.B.other[id-{ONE}]"), Case(f"tempest.t.B.two[id-{TWO}]")]
    found, unknown = selection.matching([Case(f"tempest.t.A.one[id-{ONE}]")], known)
    assert (found, unknown) == (known[:1], [])


def test_a_test_that_is_gone_is_said_to_be() -> None:
    wanted = [Case(f"tempest.t.A.one[id-{ONE}]"), Case("tempest.t.A.without")]
    assert selection.matching(wanted, [Case(f"tempest.t.B.two[id-{TWO}]"), Case("tempest.t.B.no_id")]) == ([], wanted)


def test_ids_are_looked_for_in_the_code(tmp_path: Path) -> None:
    place = tmp_path / "api" / "compute"
    place.mkdir(parents=True)
    (place / "test_one.py").write_text(f"    @decorators.idempotent_id('{ONE}')\n    def test_it(self):\n")
    wanted = [Case(f"tempest.t.A.one[id-{ONE}]"), Case(f"tempest.t.A.two[id-{TWO}]")]
    assert selection.unknown_ids(wanted, tmp_path) == ["tempest.t.A.two"]


def test_a_list_of_tests_among_passed_options_is_what_has_to_be_heard_of(tmp_path: Path) -> None:
    chosen = tmp_path / "my.lst"
    chosen.write_text(f"# mine\ntempest.api.a.B.one[id-{ONE}]\n")
    others, tests = selection.own_list(["--load-list", str(chosen), "--concurrency", "1"])
    assert others == ["--concurrency", "1"]
    assert tests == [Case(f"tempest.api.a.B.one[id-{ONE}]")]
    assert selection.own_list(["--regex", "x", "--serial"]) == (["--regex", "x", "--serial"], None)
    with pytest.raises(TempestFailed, match=r"gone\.lst cannot be read: No such file"):
        selection.own_list([f"--load-list={tmp_path}/gone.lst"])
