"""A second image, for as long as a run lasts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.cli.tempest import second_image
from beastack.site.api import Cloud
from fake_cloud import ADMIN_PASSWORD, REGION, FakeCloud

PROPERTIES = {"hw_firmware_type": "uefi"}


@pytest.fixture
def fake() -> Iterator[FakeCloud]:
    """A cloud with its first image."""
    cloud = FakeCloud()
    cloud.add("image", "images", name="beastack-guest", status="active", owner="p-admin")
    yield cloud
    cloud.stop()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The first image's file."""
    path = tmp_path / "guest.raw"
    path.write_bytes(b"a disk")
    return path


def administrator(fake: FakeCloud) -> Cloud:
    """Return the cloud as its administrator sees it."""
    return Cloud(fake.auth_url, "admin", ADMIN_PASSWORD, "admin", region=REGION)


def names(fake: FakeCloud) -> list[str]:
    """Return the names of the images."""
    return [one["name"] for one in fake.all("image", "images")]


def test_it_is_there_for_everyone_during_the_run_and_gone_after_it(fake: FakeCloud, file: Path) -> None:
    with second_image.provided(administrator(fake), file, PROPERTIES) as made:
        image = next(one for one in fake.all("image", "images") if one["id"] == made)
        assert (image["name"], image["visibility"], image["disk_format"]) == (second_image.NAME, "public", "raw")
        assert image["hw_firmware_type"] == "uefi"
        assert fake.uploads[made] == b"a disk"
    assert names(fake) == ["beastack-guest"]


def test_it_is_gone_after_a_run_that_was_ended(fake: FakeCloud, file: Path) -> None:
    with pytest.raises(KeyboardInterrupt), second_image.provided(administrator(fake), file, PROPERTIES):
        raise KeyboardInterrupt
    assert names(fake) == ["beastack-guest"]


def test_that_of_a_run_that_was_killed_is_taken_over(fake: FakeCloud, file: Path) -> None:
    cloud = administrator(fake)
    with second_image.provided(cloud, file, PROPERTIES) as left:
        before = dict(next(one for one in fake.all("image", "images") if one["id"] == left))
    fake.all("image", "images").append(before)
    with second_image.provided(cloud, file, PROPERTIES) as taken:
        assert taken == left
    assert names(fake) == ["beastack-guest"]


def test_without_the_file_there_is_none(fake: FakeCloud, tmp_path: Path) -> None:
    with second_image.provided(administrator(fake), tmp_path / "gone", PROPERTIES) as none:
        assert none == ""
    assert names(fake) == ["beastack-guest"]
    assert fake.changes() == []
