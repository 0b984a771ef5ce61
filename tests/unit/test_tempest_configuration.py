"""What Tempest is told of a cloud."""

from __future__ import annotations

import configparser
import dataclasses
import subprocess
from pathlib import Path

import pytest

from beastack.cli.tempest.configuration import GUEST_PROLOGUE, sections
from beastack.cli.tempest.facts import Facts
from beastack.site.configuration import render
from tempest_facts import FACTS

WORKSPACE = Path("/site/data/tempest")


def parsed(facts: Facts = FACTS, accounts: Path | None = None) -> configparser.ConfigParser:
    """Return the rendered file as it is read."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(render(sections(facts, "other-image-id", WORKSPACE, accounts)))
    return parser


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


def test_the_images_are_two() -> None:
    compute = parsed()["compute"]
    assert (compute["image_ref"], compute["image_ref_alt"]) == ("image-id", "other-image-id")


def test_volumes_are_there_when_the_catalogue_has_them() -> None:
    with_volumes = dataclasses.replace(FACTS, services=FACTS.services | {"block-storage"})
    assert parsed(with_volumes)["service_available"]["cinder"] == "true"


@pytest.mark.parametrize(("service", "there"), [
    ("nova", "true"), ("neutron", "true"), ("glance", "true"),
    ("cinder", "false"), ("swift", "false"), ("horizon", "false"),
])  # fmt: skip
def test_services_are_those_of_the_site(service: str, there: str) -> None:
    assert parsed()["service_available"][service] == there


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
    text = render(sections(FACTS, "other-image-id", WORKSPACE, None))
    assert "$" not in text.replace("$$", "")


def test_the_prologue_speaks_a_shell(tmp_path: Path) -> None:
    script = GUEST_PROLOGUE.replace("mkdir -p /mnt;", 'wget() { echo wget "$@"; };')
    done = subprocess.run(
        ["bash", "-c", f"{script} sudo echo as root; curl http://x; curl -X POST -d data http://x"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["as root", "wget -q -O - http://x", "wget -q -O - --post-data data http://x"]


# Accounts


def test_without_accounts_the_tests_make_their_own_as_the_administrator() -> None:
    auth = parsed()["auth"]
    assert auth["use_dynamic_credentials"] == "true"
    assert auth["admin_password"] == FACTS.password


def test_with_accounts_the_administrator_is_not_named_at_all() -> None:
    text = render(sections(FACTS, "other-image-id", WORKSPACE, WORKSPACE / "accounts.yaml"))
    assert FACTS.password not in text
    auth = parsed(accounts=WORKSPACE / "accounts.yaml")["auth"]
    assert [option for option in auth if option.startswith("admin_")] == []
    assert auth["use_dynamic_credentials"] == "false"
    assert auth["test_accounts_file"] == "/site/data/tempest/accounts.yaml"
