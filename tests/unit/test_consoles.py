"""Consoles for a browser: the instance that is meant, and the page's address."""

from __future__ import annotations

from typing import Any

import pytest

from beastack.site import consoles
from beastack.site.resources import ResourceError

ONE, OTHER = "0af3f4db-8ecf-46dd-a135-1fa06a38f5ca", "1af3f4db-8ecf-46dd-a135-1fa06a38f5ca"


class FakeCloud:
    """Lists servers by nova's filters: a name is a regular expression there."""

    def __init__(self, *servers: tuple[str, str]) -> None:
        self.servers = [{"id": number, "name": name} for number, name in servers]

    def items(self, service: str, path: str, key: str, query: dict[str, str], microversion: str) -> list[Any]:
        assert query["all_tenants"] == "1"
        if "uuid" in query:
            return [one for one in self.servers if one["id"] == query["uuid"]]
        return [one for one in self.servers if query["name"] in one["name"]]


def find(cloud: FakeCloud, name: str) -> str:
    return consoles.find_server(cloud, name)  # type: ignore[arg-type]


def test_an_instance_is_found_by_name_and_by_id() -> None:
    cloud = FakeCloud((ONE, "web"), (OTHER, "web-2"))
    assert find(cloud, "web") == ONE
    assert find(cloud, OTHER) == OTHER


def test_a_name_of_none_or_of_several_is_refused() -> None:
    cloud = FakeCloud((ONE, "web"), (OTHER, "web"))
    with pytest.raises(ResourceError, match="no instance db"):
        find(cloud, "db")
    with pytest.raises(ResourceError, match=f"2 instances are called web; .*{ONE}, {OTHER}"):
        find(cloud, "web")


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("ws://10.0.0.1:6083/?token=a", "http://10.0.0.1:6083/?token=a"),
        ("wss://cloud:6083/?token=a", "https://cloud:6083/?token=a"),
        ("http://cloud:6080/vnc_lite.html?path=%3Ftoken%3Da", "http://cloud:6080/vnc_lite.html?path=%3Ftoken%3Da"),
    ],
)
def test_the_page_of_a_websocket_is_where_the_websocket_is(
    monkeypatch: pytest.MonkeyPatch, url: str, page: str
) -> None:
    monkeypatch.setattr(consoles, "get_console_url", lambda cloud, number, kind: url)
    assert consoles.get_console_page(None, ONE, "serial") == page  # type: ignore[arg-type]
