"""What Tempest is told of a cloud, and what is made of its answers."""

from __future__ import annotations

import configparser
import dataclasses
import re
import stat
import subprocess
from pathlib import Path

import pytest

from beastack.cli import tempest
from beastack.cli.tempest import Facts, Outcome
from beastack.site.configuration import render

FACTS = Facts(
    auth_url="http://127.0.0.1:5000/v3",
    region="RegionOne",
    password="0123456789abcdef",
    image="image-id",
    flavor="tiny-id",
    other_flavor="small-id",
    network="provider",
    external="",
    reachable=True,
    extensions=("agent", "port-security", "security-group"),
    compute_version="2.104",
    placement_version="1.39",
    disk_formats=("raw", "qcow2"),
    container_formats=("bare",),
    hosts=1,
)


def parsed(facts: Facts = FACTS) -> configparser.ConfigParser:
    """Return the rendered file as it is read."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(render(tempest.sections(facts, Path("/site/data/tempest"))))
    return parser


def workspace_of(tmp_path: Path) -> tuple[Path, Path]:
    """Return a workspace's path and an environment that looks as if it held Tempest."""
    venv = tmp_path / "venv"
    (venv / "lib/python3.11/site-packages/tempest/test_discover").mkdir(parents=True)
    return tmp_path / "site" / "tempest", venv


# Configuration


def test_extensions_are_those_that_the_cloud_names() -> None:
    assert parsed()["network-feature-enabled"]["api_extensions"] == "agent,port-security,security-group"


def test_a_feature_that_is_an_extension_follows_the_list() -> None:
    assert parsed()["network-feature-enabled"]["port_security"] == "true"
    without = parsed(dataclasses.replace(FACTS, extensions=("agent",)))
    assert without["network-feature-enabled"]["port_security"] == "false"


def test_without_routers_there_are_no_isolated_networks_and_no_floating_addresses() -> None:
    file = parsed()
    assert file["auth"]["create_isolated_networks"] == "false"
    assert file["network-feature-enabled"]["floating_ips"] == "false"
    assert file["network"]["public_network_id"] == ""
    assert file["compute"]["fixed_network_name"] == "provider"


def test_with_routers_and_an_external_network_there_are() -> None:
    file = parsed(dataclasses.replace(FACTS, extensions=("router",), external="net-id"))
    assert file["auth"]["create_isolated_networks"] == "true"
    assert file["network-feature-enabled"]["floating_ips"] == "true"
    assert file["network"]["public_network_id"] == "net-id"


def test_a_router_without_an_external_network_gives_no_floating_addresses() -> None:
    file = parsed(dataclasses.replace(FACTS, extensions=("router",)))
    assert file["network-feature-enabled"]["floating_ips"] == "false"


@pytest.mark.parametrize(("service", "there"), [
    ("nova", "true"), ("neutron", "true"), ("glance", "true"),
    ("cinder", "false"), ("swift", "false"), ("horizon", "false"),
])  # fmt: skip
def test_services_are_those_of_the_site(service: str, there: str) -> None:
    assert parsed()["service_available"][service] == there


def test_one_host_declares_nothing_that_takes_two() -> None:
    features = parsed()["compute-feature-enabled"]
    assert {features[name] for name in ("resize", "cold_migration", "live_migration", "shelve_migrate")} == {"false"}
    assert parsed()["compute"]["min_compute_nodes"] == "1"


def test_guests_are_looked_into_only_from_a_machine_that_reaches_them() -> None:
    assert parsed()["validation"]["run_validation"] == "true"
    away = parsed(dataclasses.replace(FACTS, reachable=False))
    assert away["validation"]["run_validation"] == "false"
    assert away["network"]["project_networks_reachable"] == "false"


def test_microversions_are_the_range_that_the_cloud_speaks() -> None:
    file = parsed()
    assert (file["compute"]["min_microversion"], file["compute"]["max_microversion"]) == ("2.1", "2.104")
    assert file["placement"]["max_microversion"] == "1.39"


def test_every_dollar_sign_is_escaped() -> None:
    text = render(tempest.sections(FACTS, Path("/site/data/tempest")))
    assert "$" not in text.replace("$$", "")


def test_the_prologue_speaks_a_shell(tmp_path: Path) -> None:
    script = tempest.GUEST_PROLOGUE.replace("mkdir -p /mnt;", 'wget() { echo wget "$@"; };')
    done = subprocess.run(
        ["bash", "-c", f"{script} sudo echo as root; curl http://x; curl -X POST -d data http://x"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["as root", "wget -q -O - http://x", "wget -q -O - --post-data data http://x"]


# Secrets


def test_the_password_is_in_one_private_file(tmp_path: Path) -> None:
    workspace, venv = workspace_of(tmp_path)
    tempest.prepare(FACTS, workspace, venv)
    files = [path for path in workspace.rglob("*") if path.is_file()]
    holders = [path.name for path in files if FACTS.password in path.read_text()]
    assert holders == ["tempest.conf"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    directories = [workspace, *(path for path in workspace.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directories} == {0o700}


def test_a_workspace_with_loose_permissions_is_tightened(tmp_path: Path) -> None:
    workspace, venv = workspace_of(tmp_path)
    workspace.mkdir(parents=True, mode=0o755)
    (workspace / "tempest.conf").write_text("")
    (workspace / "tempest.conf").chmod(0o644)
    tempest.prepare(FACTS, workspace, venv)
    assert stat.S_IMODE(workspace.stat().st_mode) == 0o700
    assert stat.S_IMODE((workspace / "tempest.conf").stat().st_mode) == 0o600


def test_an_environment_without_tempest_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(tempest.TempestFailed, match="holds no Tempest") as caught:
        tempest.prepare(FACTS, tmp_path / "work", tmp_path / "venv")
    assert "\n" not in str(caught.value)


def test_the_password_is_not_shown() -> None:
    assert FACTS.password not in repr(FACTS)


# Selection


def test_the_default_is_the_smoke_set_of_the_services_there_are() -> None:
    option, pattern = tempest.selection([])
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


def test_names_replace_the_default_and_options_are_passed_on() -> None:
    assert tempest.selection(["test_ports", "test_networks"]) == ["--regex", "test_ports|test_networks"]
    assert tempest.selection(["--smoke", "--serial"]) == ["--smoke", "--serial"]


# Answers


def test_lines_of_tests_are_read_and_others_are_not() -> None:
    name = "tempest.api.a.B.test_c"
    assert tempest.read_line(f"{{0}} {name} [1.250000s] ... ok") == Outcome(name, "passed", 1.25)
    assert tempest.read_line(f"{{1}} {name} [0.5s] ... FAILED") == Outcome(name, "failed", 0.5)
    assert tempest.read_line(f"{{1}} {name} ... SKIPPED: no volumes") == Outcome(name, "skipped", 0.0, "no volumes")
    assert tempest.read_line("{0} setUpClass (tempest.api.a.B) [0.000000s] ... FAILED") == Outcome(
        "setUpClass (tempest.api.a.B)", "failed"
    )
    for other in ("", "Totals", " - Passed: 3", "    Traceback (most recent call last):"):
        assert tempest.read_line(other) is None


def test_a_failure_is_told_with_the_error_it_ended_in() -> None:
    text = """{0} t.A.one [0.1s] ... FAILED

Captured traceback:
~~~~~~~~~~~~~~~~~~~
    Traceback (most recent call last):

      File "a.py", line 65, in wrapper
    return f(*func_args)

    tempest.lib.exceptions.NotFound: Object not found
Details: none

Captured pythonlogging:
~~~~~~~~~~~~~~~~~~~~~~~
    INFO: Request
{0} t.A.two [0.1s] ... ok
    other: text
"""
    assert tempest.causes(text) == {"t.A.one": "NotFound: Object not found"}


def test_a_long_error_is_shortened() -> None:
    (cause,) = tempest.causes(f"{{0}} t.A.one [0.1s] ... FAILED\n    ValueError: {'x' * 1000}").values()
    assert cause.endswith("x…") and len(cause) < 300


def test_a_class_that_is_skipped_skips_each_of_its_tests() -> None:
    everyone = tempest.spread([Outcome("setUpClass (t.A)", "skipped", 0.0, "no routers")], ["t.A.one", "t.A.two"])
    assert everyone == [Outcome(name, "skipped", 0.0, "no routers") for name in ("t.A.one", "t.A.two")]


def test_a_class_that_cannot_be_set_up_fails_each_of_its_tests() -> None:
    everyone = tempest.spread([Outcome("setUpClass (t.A)", "failed")], ["t.A.one", "t.A.two"])
    assert [(one.name, one.state) for one in everyone] == [("t.A.one", "failed"), ("t.A.two", "failed")]


def test_a_class_that_cannot_be_cleaned_up_is_a_failure_besides_its_tests() -> None:
    everyone = tempest.spread([Outcome("t.A.one", "passed"), Outcome("tearDownClass (t.A)", "failed")], ["t.A.one"])
    assert [(one.name, one.state) for one in everyone] == [("t.A.one", "passed"), ("tearDownClass (t.A)", "failed")]


def test_a_test_that_nothing_was_heard_of_failed() -> None:
    (one,) = tempest.spread([], ["t.A.one"])
    assert (one.state, one.reason) == ("failed", "it was not run")


def test_a_test_that_was_not_expected_counts_too() -> None:
    assert tempest.spread([Outcome("t.A.one", "failed")], []) == [Outcome("t.A.one", "failed")]


def test_tags_are_not_part_of_a_name() -> None:
    assert tempest.without_tags("t.A.one[id-1,smoke]") == "t.A.one"


# Report


def test_status_is_zero_only_when_nothing_failed_and_nothing_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    passed, failed = Outcome("t.A.one", "passed"), Outcome("t.A.two", "failed", 1.0, "why")
    assert tempest.report([passed], [], [], 1.0, Path("/w")) == 0
    assert tempest.report([passed, failed], [], [], 1.0, Path("/w")) == 1
    assert tempest.report([passed], ["user tempest-x"], [], 1.0, Path("/w")) == 1
    assert tempest.report([passed], [], ["user tempest-old"], 1.0, Path("/w")) == 0
    text = capsys.readouterr().out
    assert "2 tests in 1 s: 1 passed, 1 failed, 0 skipped" in text
    assert "failed: t.A.two: why" in text
    assert "left in the cloud: user tempest-x" in text
    assert "was in the cloud before: user tempest-old" in text
