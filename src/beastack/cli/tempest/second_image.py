"""A second image, for tests that tell images apart: made before a run of the first one's file, removed after it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from beastack.site import resources
from beastack.site.api import Cloud

NAME = "beastack-conformance-image"


@contextlib.contextmanager
def provided(cloud: Cloud, file: Path, properties: Mapping[str, str]) -> Iterator[str]:
    """Have the image in the cloud for as long as the block lasts, and give its id.

    One that a killed run left is taken over. Without the file there is none, and an empty id.

    :param file: the first image's, raw
    :raises CloudError: a service refuses or does not answer
    """
    try:
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        yield ""
        return
    try:
        yield resources.ensure_image(cloud, NAME, file, "raw", properties=properties, sha256=sha256).id
    finally:
        remove(cloud)


def remove(cloud: Cloud) -> None:
    """Remove the image, and what an earlier run left of it."""
    query = {"name": NAME, "owner": cloud.project_id, "limit": resources.IMAGE_PAGE}
    for image in cloud.items("image", "/images", "images", query):
        if image["name"] == NAME:
            cloud.delete("image", f"/images/{image['id']}", ok=(204, 404))
