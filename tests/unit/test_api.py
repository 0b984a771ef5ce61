"""The site's client against a cloud in this process: tokens, errors, uploads."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from beastack.site.api import (
    AmbiguousName,
    ApiError,
    ApiUnreachable,
    AuthenticationFailed,
    Cloud,
    ServiceMissing,
    UploadError,
    error_message,
)
from fake_cloud import ADMIN_PASSWORD, REGION, FakeCloud


@pytest.fixture
def fake() -> Iterator[FakeCloud]:
    cloud = FakeCloud()
    yield cloud
    cloud.stop()


@pytest.fixture
def cloud(fake: FakeCloud) -> Iterator[Cloud]:
    with closing(Cloud(fake.auth_url, "admin", ADMIN_PASSWORD, "admin", region=REGION)) as client:
        yield client


def test_a_token_is_fetched_once_and_used_for_every_service(fake: FakeCloud, cloud: Cloud) -> None:
    cloud.get("identity", "/projects")
    cloud.get("network", "/networks")
    cloud.get("compute", "/servers")
    assert fake.log() == [
        "POST identity /auth/tokens",
        "GET identity /projects",
        "GET network /networks",
        "GET compute /servers",
    ]
    assert fake.connections == 1


def test_endpoints_come_from_the_catalogue_of_the_region_with_the_version_spoken(fake: FakeCloud, cloud: Cloud) -> None:
    assert cloud.endpoint("identity") == f"{fake.url}/identity/v3"
    assert cloud.endpoint("image") == f"{fake.url}/image/v2"
    assert cloud.endpoint("network") == f"{fake.url}/network/v2.0"
    assert cloud.endpoint("compute") == f"{fake.url}/compute/v2.1"
    assert cloud.endpoint("placement") == f"{fake.url}/placement"


def test_the_identity_url_may_be_given_without_its_version(fake: FakeCloud) -> None:
    cloud = Cloud(f"{fake.url}/identity/", "admin", ADMIN_PASSWORD, "admin", region=REGION)
    with closing(cloud):
        assert cloud.project_id == "p-admin"
        assert cloud.user_id == "u-admin"


def test_a_service_registered_after_the_token_was_issued_is_found(fake: FakeCloud, cloud: Cloud) -> None:
    fake.catalog_types = ["identity"]
    cloud.get("identity", "/projects")
    with pytest.raises(ServiceMissing, match="no network endpoint in region Workshop"):
        cloud.get("network", "/networks")
    fake.catalog_types = ["identity", "network"]
    assert cloud.get("network", "/networks") == {"networks": []}


def test_a_refused_token_is_renewed_and_the_request_sent_again(fake: FakeCloud, cloud: Cloud) -> None:
    cloud.get("network", "/networks")
    fake.revoke_tokens()
    cloud.post("network", "/networks", {"network": {"name": "blue"}})
    assert fake.log()[2:] == [
        "POST network /networks",
        "POST identity /auth/tokens",
        "POST network /networks",
    ]
    assert [one["name"] for one in fake.all("network", "networks")] == ["blue"]


def test_a_service_that_refuses_every_token_is_asked_twice_only(fake: FakeCloud, cloud: Cloud) -> None:
    for _ in range(2):
        fake.refuse("GET network /networks", 401, {"error": {"message": "go away"}})
    with pytest.raises(ApiError, match="network answered 401 to GET /networks: go away"):
        cloud.get("network", "/networks")
    assert fake.log().count("GET network /networks") == 2


def test_a_token_near_its_end_is_renewed_before_use(fake: FakeCloud) -> None:
    now = [1000.0]
    fake.token_lifetime = timedelta(hours=1)
    cloud = Cloud(fake.auth_url, "admin", ADMIN_PASSWORD, "admin", region=REGION, clock=lambda: now[0])
    cloud.get("network", "/networks")
    now[0] += 3600 - 61
    cloud.get("network", "/networks")
    assert fake.log().count("POST identity /auth/tokens") == 1
    now[0] += 2
    cloud.get("network", "/networks")
    cloud.close()
    assert fake.log().count("POST identity /auth/tokens") == 2


def test_many_threads_share_one_token(fake: FakeCloud, cloud: Cloud) -> None:
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(cloud.get("network", "/networks"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [{"networks": []}] * 8
    assert fake.log().count("POST identity /auth/tokens") == 1


def test_a_connection_closed_while_idle_is_opened_again(fake: FakeCloud, cloud: Cloud) -> None:
    fake.hangs_up_when_idle = True
    for _ in range(5):
        assert cloud.get("network", "/networks") == {"networks": []}
    assert fake.log().count("GET network /networks") == 5


def test_a_wrong_password_is_a_typed_refusal(fake: FakeCloud) -> None:
    cloud = Cloud(fake.auth_url, "admin", "wrong guess", "admin", region=REGION)
    with closing(cloud), pytest.raises(AuthenticationFailed) as caught:
        cloud.get("network", "/networks")
    assert caught.value.status == 401
    assert "user admin was not accepted: The request you have made" in str(caught.value)
    assert "wrong guess" not in str(caught.value)


def test_a_password_can_be_tried_for_a_user_without_roles(fake: FakeCloud, cloud: Cloud) -> None:
    fake.passwords["nova"] = "right"
    assert cloud.password_works("nova", "right")
    assert not cloud.password_works("nova", "left")
    assert not cloud.password_works("nobody", "right")
    assert all("scope" not in one.body["auth"] for one in fake.requests)


def test_the_microversion_is_asked_for(fake: FakeCloud, cloud: Cloud) -> None:
    cloud.get("compute", "/servers", microversion="2.96")
    assert fake.requests[-1].headers["openstack-api-version"] == "compute 2.96"


def test_accepted_statuses_are_not_errors(fake: FakeCloud, cloud: Cloud) -> None:
    assert cloud.get("network", "/networks/none", ok=(200, 404)) is None
    assert cloud.delete("network", "/networks/none", ok=(204, 404)) is None
    with pytest.raises(ApiError):
        cloud.get("network", "/networks", ok=(204,))


def test_find_compares_names_exactly(fake: FakeCloud, cloud: Cloud) -> None:
    fake.add("compute", "servers", id="s-1", name="web")
    assert cloud.find("compute", "/servers", "servers", "web") == {"id": "s-1", "name": "web"}
    assert cloud.find("compute", "/servers", "servers", "we") is None
    fake.add("compute", "servers", id="s-2", name="web")
    with pytest.raises(AmbiguousName, match="compute has 2 objects named web under /servers"):
        cloud.find("compute", "/servers", "servers", "web")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"badRequest": {"code": 400, "message": "Invalid\\n flavorRef"}}', "Invalid flavorRef"),
        (
            b'{"NeutronError": {"type": "Conflict", "message": "VLAN 7 is taken.", "detail": ""}}',
            "VLAN 7 is taken.",
        ),
        (b'{"NeutronError": "just text"}', "just text"),
        (b'{"error": {"code": 403, "message": "Not allowed.", "title": "Forbidden"}}', "Not allowed."),
        (b'{"errors": [{"status": 409, "title": "Conflict", "detail": "generation"}]}', "generation"),
        (b'{"debuginfo": null, "faultcode": "Client", "faultstring": "Bad value"}', "Bad value"),
        (b'{"message": "No image.<br /><br />", "code": "404 Not Found"}', "No image."),
        (
            b"<html><head><title>409 Conflict</title></head><body><h1>409 Conflict</h1>"
            b"not from &quot;saving&quot;<br /></body></html>",
            'not from "saving"',
        ),
        (b"plain words", "plain words"),
        (b"", "Bad Gateway"),
        (b"{}", "Bad Gateway"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_the_message_of_a_refusal_is_found_wherever_a_service_puts_it(body: bytes, message: str) -> None:
    assert error_message(body, "Bad Gateway") == message


def test_a_message_is_one_line_of_bounded_length() -> None:
    message = error_message(b"line\n" * 1000, "Bad Gateway")
    assert "\n" not in message
    assert len(message) < 600


def test_a_refusal_names_service_request_and_status(fake: FakeCloud, cloud: Cloud) -> None:
    fake.refuse("GET compute /servers", 503, "<html><body>no backend</body></html>")
    with pytest.raises(ApiError) as caught:
        cloud.get("compute", "/servers", query={"name": "x"})
    assert str(caught.value) == "compute answered 503 to GET /servers: no backend"
    assert (caught.value.service, caught.value.method, caught.value.status) == ("compute", "GET", 503)


def test_an_answer_that_is_not_json_is_an_error(fake: FakeCloud, cloud: Cloud) -> None:
    fake.refuse("GET compute /servers", 200, "<html>welcome</html>")
    with pytest.raises(ApiError, match="the answer is not JSON"):
        cloud.get("compute", "/servers")


def test_a_cloud_that_is_down_is_unreachable(fake: FakeCloud, cloud: Cloud) -> None:
    fake.stop()
    with pytest.raises(ApiUnreachable) as caught:
        cloud.get("network", "/networks")
    assert caught.value.service == "identity"
    assert caught.value.address in fake.url
    assert "Connection refused" in str(caught.value)


def test_secrets_are_in_no_message_and_no_repr(fake: FakeCloud, cloud: Cloud) -> None:
    cloud.get("network", "/networks")
    (token,) = fake.tokens
    fake.refuse(
        "POST identity /users",
        400,
        {"error": {"message": f"'open sesame' is too short, {ADMIN_PASSWORD} {token} too"}},
    )
    with pytest.raises(ApiError) as caught:
        cloud.post("identity", "/users", {"user": {"name": "eve", "password": "open sesame"}})
    assert "'[hidden]' is too short, [hidden] [hidden] too" in str(caught.value)
    shown = f"{caught.value!r} {cloud!r} {cloud._token!r}"
    assert not [secret for secret in ("open sesame", ADMIN_PASSWORD, token) if secret in shown]


def test_a_file_is_uploaded_whole_and_its_hash_returned(fake: FakeCloud, cloud: Cloud, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    image = tmp_path / "image"
    image.write_bytes(content)
    fake.add("image", "images", id="i-1", status="queued")
    told: list[tuple[int, int]] = []
    sent = cloud.upload("image", "/images/i-1/file", image, progress=lambda *step: told.append(step))
    assert fake.uploads["i-1"] == content
    assert sent == hashlib.sha256(content).hexdigest()
    assert fake.requests[-1].headers["content-length"] == str(len(content))
    assert "transfer-encoding" not in fake.requests[-1].headers
    assert told[-1] == (len(content), len(content))
    assert len(told) > 1


def test_an_upload_starts_again_when_its_token_was_refused(fake: FakeCloud, cloud: Cloud) -> None:
    fake.add("image", "images", id="i-1", status="queued")
    cloud.get("image", "/images")
    fake.revoke_tokens()
    source = io.BytesIO(b"skipped" + b"x" * 600_000)
    source.seek(7)
    cloud.upload("image", "/images/i-1/file", source)
    assert fake.uploads["i-1"] == b"x" * 600_000


def test_an_upload_cut_off_is_unreachable_not_success(fake: FakeCloud, cloud: Cloud) -> None:
    fake.add("image", "images", id="i-1", status="queued")
    fake.break_uploads_after = 1000
    with pytest.raises(ApiUnreachable, match=r"image at 127\.0\.0\.1:\d+ did not answer PUT /images/i-1/file"):
        cloud.upload("image", "/images/i-1/file", io.BytesIO(b"x" * 20_000_000))
    assert fake.uploads == {}


def test_a_file_that_shrinks_or_cannot_be_read_is_named(fake: FakeCloud, cloud: Cloud, tmp_path: Path) -> None:
    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return b"" if self.tell() >= 300_000 else super().read(size)

    fake.add("image", "images", id="i-1", status="queued")
    with pytest.raises(UploadError, match="of 900000 bytes while being uploaded"):
        cloud.upload("image", "/images/i-1/file", Shrinking(b"x" * 900_000))
    with pytest.raises(UploadError, match=r"cannot read .*none: No such file"):
        cloud.upload("image", "/images/i-1/file", tmp_path / "none")


def test_the_same_cloud_as_another_user(fake: FakeCloud, cloud: Cloud) -> None:
    fake.passwords["demo"] = "demo's own"
    demo = cloud.as_user("demo", "demo's own", "demo")
    with closing(demo):
        assert (demo.user_id, demo.project_id) == ("u-demo", "p-demo")
    assert "demo's own" not in repr(demo)


def test_a_closed_client_opens_its_connection_again(fake: FakeCloud, cloud: Cloud) -> None:
    cloud.get("network", "/networks")
    cloud.close()
    cloud.get("network", "/networks")
    assert fake.connections == 2
