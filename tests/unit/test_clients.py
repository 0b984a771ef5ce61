"""Client credentials: ours go into a user's clouds.yaml and out again, and nothing else of it changes."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

import pytest
import yaml

from beastack.site import clients, layout, records, secrets
from beastack.site import description as descriptions
from beastack.site.clients import ClientsError, merged, openrc, own_text, remove, without_ours
from beastack.site.configuration import Facts, Site
from beastack.site.description import Description
from beastack.site.layout import Layout
from beastack.site.records import Record


def make_site(root: Path = Path("/srv/cloud"), **site: str) -> Site:
    facts = Facts(cpus=2, hostname="box", novnc_pages="/x", python="/usr/bin/python3", helper="/x/request.py")
    description = Description(site=descriptions.Site(**site))  # type: ignore[arg-type]
    return Site(Layout(root), description, {name: f"secret-{name}" for name in secrets.NAMES}, facts)


SITE = make_site()


def cloud(user: str) -> dict[str, object]:
    """Return what an entry says."""
    return {
        "auth": {
            "auth_url": "http://127.0.0.1:5000/v3",
            "username": user,
            "password": f"secret-{user}",
            "project_name": user,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        "region_name": "RegionOne",
        "identity_api_version": 3,
    }


OURS = {"beastack": cloud("demo"), "beastack-admin": cloud("admin")}

FOREIGN = {
    "two": (
        "clouds:\n"
        "  work:\n"
        "    auth: {auth_url: 'https://work.example/v3', password: \"a:b\"}\n"
        "  # the old one\n"
        "  old:   \n"
        "    region_name: North\n"
    ),
    "indented by four": "clouds:\n    work:\n        region_name: North\n    other:\n        region_name: South\n",
    "comments and more": (
        "---\n"
        "# All of my clouds.\n\n"
        "cache:\n  expiration_time: 3600\n\n"
        "clouds:  # mine\n\n"
        "  # first\n"
        "  work:\n    region_name: North  # cold\n\n"
        "client:\n  force_ipv4: true\n"
    ),
    "quoted name": 'clouds:\n  "work":\n    region_name: beastack\n',
    "no newline at the end": "clouds:\n  work:\n    region_name: North",
    "a name like ours": "clouds:\n  beastack-old:\n    region_name: North\n  my-beastack:\n    region_name: South\n",
}


# The site's own file.


def test_the_sites_own_file_holds_both_entries() -> None:
    assert yaml.safe_load(own_text(SITE)) == {"clouds": OURS}


def test_an_ipv6_address_is_text_in_it() -> None:
    entries = yaml.safe_load(own_text(make_site(bind_address="::1")))["clouds"]
    assert entries["beastack"]["auth"]["auth_url"] == "http://[::1]:5000/v3"


@pytest.mark.parametrize("region", ["1", "no", "1.5", "null"])
def test_a_region_that_looks_like_something_else_is_text_in_it(region: str) -> None:
    entries = yaml.safe_load(own_text(make_site(region=region)))["clouds"]
    assert entries["beastack"]["region_name"] == region


@pytest.mark.parametrize("user", ["demo", "admin"])
def test_openrc(user: str) -> None:
    lines = openrc(make_site(region="North", bind_address="192.0.2.7"), user).splitlines()
    words = [shlex.split(line) for line in lines]
    assert all(word[0] == "export" and len(word) == 2 for word in words)
    assert dict(word[1].split("=", 1) for word in words) == {
        "OS_AUTH_URL": "http://192.0.2.7:5000/v3",
        "OS_USERNAME": user,
        "OS_PASSWORD": f"secret-{user}",
        "OS_PROJECT_NAME": user,
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": "North",
        "OS_IDENTITY_API_VERSION": "3",
    }


# The user's own file.


@pytest.mark.parametrize("text", ["", "\n", "clouds:\n", "clouds: # none yet\n"])
def test_an_empty_file_gets_our_entries(text: str) -> None:
    assert yaml.safe_load(merged(text, SITE)) == {"clouds": OURS}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_there_keeps_its_meaning_and_its_bytes(text: str) -> None:
    result = merged(text, SITE)
    before, after = yaml.safe_load(text), yaml.safe_load(result)
    assert after["clouds"] == {**before["clouds"], **OURS}
    assert {name: value for name, value in after.items() if name != "clouds"} == {
        name: value for name, value in before.items() if name != "clouds"
    }
    kept = iter(result.split("\n"))
    assert all(line in kept for line in text.split("\n"))


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN.keys())
def test_removal_restores_the_original(text: str) -> None:
    assert without_ours(merged(text, SITE)) == text


@pytest.mark.parametrize("text", ["", "clouds:\n", *FOREIGN.values()])
def test_merging_again_changes_nothing(text: str) -> None:
    once = merged(text, SITE)
    assert merged(once, SITE) == once


def test_merging_again_changes_nothing_where_the_last_line_is_not_ended() -> None:
    once = merged("clouds:", SITE)
    assert merged(once, SITE) == once


def test_the_entries_follow_the_indentation_of_the_others() -> None:
    lines = merged(FOREIGN["indented by four"], SITE).splitlines()
    assert "    beastack:" in lines
    assert "      auth:" in lines


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN.keys())
def test_our_earlier_entries_are_replaced(text: str) -> None:
    moved = merged(merged(text, SITE), make_site(bind_address="192.0.2.7"))
    assert moved == merged(text, make_site(bind_address="192.0.2.7"))
    assert "127.0.0.1" not in moved


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("clouds:\n  beastack:\n    region_name: Mine\n", "beastack"),
        ("clouds:\n  work: {}\n  'beastack-admin':\n    region_name: Mine\n", "beastack-admin"),
        ('clouds:\n    "beastack": {}\n', "beastack"),
    ],
)
def test_somebody_elses_entry_of_our_name_is_refused(text: str, name: str) -> None:
    with pytest.raises(ClientsError) as caught:
        merged(text, SITE)
    assert str(caught.value) == f"it has an entry {name} that beastack did not write"


@pytest.mark.parametrize("text", ["clouds: {}\n", "cache:\n  a: 1\n", "{clouds: {work: {}}}\n", "# clouds:\n"])
def test_a_file_without_a_block_of_clouds_is_refused(text: str) -> None:
    with pytest.raises(ClientsError, match=r"^it has no line 'clouds:' that begins a mapping$"):
        merged(text, SITE)


def test_a_block_of_ours_that_somebody_cut_is_not_taken_for_the_rest_of_the_file() -> None:
    cut = merged("clouds:\n  work: {}\n", SITE).replace("  # beastack end\n", "")
    assert without_ours(cut) == cut
    with pytest.raises(ClientsError):
        merged(cut, SITE)


# Files.


@pytest.fixture
def own_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site that takes itself for the machine's own, with a home directory of the test's."""
    root = tmp_path / "site"
    root.mkdir()
    monkeypatch.setattr(layout, "default_root", lambda: root)
    monkeypatch.setattr(clients, "COMMAND_LINK", tmp_path / "bin" / "openstack")
    monkeypatch.setattr(clients, "find_program", lambda name: "/usr/bin/openstack")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / "home").mkdir()
    return make_site(root)


def test_where_the_openstack_command_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of/someone")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert clients.user_file() == Path("/home/of/someone/.config/openstack/clouds.yaml")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/elsewhere")
    assert clients.user_file() == Path("/etc/elsewhere/openstack/clouds.yaml")


def test_another_site_writes_only_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    site = make_site(tmp_path)
    assert not clients.are_written(site)
    clients.write(site, site.layout.records)
    assert clients.are_written(site)
    assert [path.name for path in tmp_path.iterdir()] == ["clouds.yaml"]
    assert stat.S_IMODE(site.layout.clouds_yaml.stat().st_mode) == 0o600


def test_a_new_file_is_private_recorded_and_goes_again(own_site: Site) -> None:
    user = clients.user_file()
    clients.write(own_site, own_site.layout.records)
    assert clients.are_written(own_site)
    assert yaml.safe_load(user.read_text()) == {"clouds": OURS}
    assert stat.S_IMODE(user.stat().st_mode) == 0o600
    assert records.read(own_site.layout.records) == [
        Record("directory", str(user.parent.parent)),
        Record("directory", str(user.parent)),
        Record("clouds", str(user), "made"),
    ]
    remove(user, made=True)
    assert list(user.parent.iterdir()) == []


def test_the_users_own_file_is_kept_when_ours_goes(own_site: Site) -> None:
    user = clients.user_file()
    user.parent.mkdir(parents=True)
    user.write_text(FOREIGN["two"])
    clients.write(own_site, own_site.layout.records)
    assert clients.are_written(own_site)
    assert records.read(own_site.layout.records) == [Record("clouds", str(user))]
    remove(user, made=False)
    assert user.read_text() == FOREIGN["two"]


def test_a_file_that_we_made_stays_if_the_user_put_something_in(own_site: Site) -> None:
    user = clients.user_file()
    clients.write(own_site, own_site.layout.records)
    user.write_text(user.read_text() + "  work:\n    region_name: North\n")
    remove(user, made=True)
    assert user.read_text() == "clouds:\n  work:\n    region_name: North\n"


def test_removing_from_a_file_that_is_gone_is_no_error(tmp_path: Path) -> None:
    remove(tmp_path / "clouds.yaml", made=True)


def test_a_foreign_entry_stops_the_writing_and_names_the_way_out(own_site: Site) -> None:
    user = clients.user_file()
    user.parent.mkdir(parents=True)
    text = "clouds:\n  beastack:\n    region_name: Mine\n"
    user.write_text(text)
    with pytest.raises(ClientsError) as caught:
        clients.write(own_site, own_site.layout.records)
    assert str(caught.value) == (
        f"{user}: it has an entry beastack that beastack did not write; "
        f"use OS_CLIENT_CONFIG_FILE={own_site.layout.clouds_yaml} instead, or rename the entry"
    )
    assert user.read_text() == text
    assert yaml.safe_load(own_site.layout.clouds_yaml.read_text()) == {"clouds": OURS}


def test_the_command_is_linked_where_there_is_none(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "find_program", lambda name: None)
    clients.write(own_site, own_site.layout.records)
    target = own_site.layout.venv / "bin" / "openstack"
    assert Path(os.readlink(clients.COMMAND_LINK)) == target
    assert Record("link", str(clients.COMMAND_LINK), str(target)) in records.read(own_site.layout.records)


def test_a_link_that_leads_nowhere_is_replaced(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "find_program", lambda name: None)
    clients.COMMAND_LINK.parent.mkdir()
    clients.COMMAND_LINK.symlink_to("/nowhere/bin/openstack")
    clients.write(own_site, own_site.layout.records)
    assert Path(os.readlink(clients.COMMAND_LINK)) == own_site.layout.venv / "bin" / "openstack"


def test_a_file_that_is_a_link_stays_one(own_site: Site, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.yaml"
    real.write_text(FOREIGN["two"])
    user = clients.user_file()
    user.parent.mkdir(parents=True)
    user.symlink_to(real)
    clients.write(own_site, own_site.layout.records)
    assert user.is_symlink()
    assert real.read_text() == merged(FOREIGN["two"], own_site)
