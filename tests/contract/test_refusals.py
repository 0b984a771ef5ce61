"""What instances on bhyve cannot do is refused by nova-api at once: upstream's own API, with the site's pipelines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import run_apart

VENV = Path(sys.prefix)
UPSTREAM = VENV / "etc/nova/api-paste.ini"
IMAGE = {"name": "snapshot"}
MIGRATE = {"host": None, "block_migration": "auto"}
BACKUP = {"name": "backup", "backup_type": "daily", "rotation": 1}

#: Action, its body, the API's version, the method of nova's compute API, and the error that the API reference has.
ACTIONS: tuple[tuple[str, Any, str | None, str, int], ...] = (
    ("pause", None, None, "pause", 501),
    ("pause", None, "2.95", "pause", 501),
    ("suspend", None, None, "suspend", 409),
    ("os-migrateLive", MIGRATE, "2.30", "live_migrate", 400),
    ("os-migrateLive", MIGRATE, "2.34", "live_migrate", 400),
    ("trigger_crash_dump", None, "2.17", "trigger_crash_dump", 400),
)

#: The same of what depends on the image, and the instance's state.
SNAPSHOTS: tuple[tuple[str, Any, str], ...] = (("createImage", IMAGE, "snapshot"), ("createBackup", BACKUP, "backup"))

FAULTS = {400: "badRequest", 409: "conflictingRequest", 501: "notImplemented"}


def refused(answer: Any, code: int) -> bool:
    """Tell whether an answer is a refusal in nova's format."""
    assert answer.status_code == code, (answer.status_code, answer.text)
    fault = answer.json()[FAULTS[code]]
    return bool(fault["code"] == code and "bhyve" in fault["message"])


def on_bhyve_each_is_refused_and_on_qemu_it_is_novas(cloud: Any) -> None:
    bhyve, qemu = cloud.make_instance("BHYVE"), cloud.make_instance("QEMU")
    for action, asked, version, method, code in ACTIONS:
        answer = cloud.act(bhyve, {action: asked}, version=version)
        assert refused(answer, code)
        assert answer.headers["OpenStack-API-Version"] == f"compute {version or '2.1'}"
        assert answer.headers["x-compute-request-id"]
        assert cloud.act(qemu, {action: asked}, version=version).status_code == 202
        assert cloud.reached == [(method, qemu)]
        cloud.reached.clear()
    volume = {"volumeAttachment": {"volumeId": bhyve}}
    assert refused(cloud.post(f"servers/{bhyve}/os-volume_attachments", volume), 400)
    assert cloud.post(f"servers/{qemu}/os-volume_attachments", volume).status_code == 200
    assert cloud.reached == [("attach_volume", qemu)]


def only_a_snapshot_that_would_have_to_be_quiesced_is_refused(cloud: Any) -> None:
    from nova.compute import vm_states

    strict = cloud.make_instance("BHYVE", os_require_quiesce="yes")
    allowed = (
        cloud.make_instance("BHYVE"), cloud.make_instance("BHYVE", os_require_quiesce="no"),
        cloud.make_instance("BHYVE", vm_states.STOPPED, os_require_quiesce="yes"),
        cloud.make_instance("QEMU", os_require_quiesce="yes"),
    )  # fmt: skip
    for action, asked, method in SNAPSHOTS:
        answer = cloud.act(strict, {action: asked})
        assert refused(answer, 400) and "os_require_quiesce" in answer.text
        for number in allowed:
            assert cloud.act(number, {action: asked}).status_code == 202
        assert cloud.reached == [(method, number) for number in allowed]
        cloud.reached.clear()


def who_may_not_know_hears_what_nova_says(cloud: Any) -> None:
    bhyve = cloud.make_instance("BHYVE")
    for action, asked, version, _, _ in ACTIONS:
        assert cloud.act(bhyve, {action: asked}, cloud.as_other_project(), version).status_code == 404
        assert cloud.act(bhyve, {action: asked}, cloud.server.reader_api, version).status_code == 403
    volume = {"volumeAttachment": {"volumeId": bhyve}}
    for api, code in ((cloud.as_other_project(), 404), (cloud.server.reader_api, 403)):
        assert cloud.post(f"servers/{bhyve}/os-volume_attachments", volume, api).status_code == code
    assert not cloud.reached


def what_nova_refuses_by_itself_is_left_to_nova(cloud: Any) -> None:
    from oslo_utils.fixture import uuidsentinel

    bhyve = cloud.make_instance("BHYVE")
    cloud.map_instance(uuidsentinel.unscheduled, None)

    def is_novas(answer: Any, code: int) -> bool:
        assert answer.status_code == code, (answer.status_code, answer.text)
        return "bhyve" not in answer.text

    assert is_novas(cloud.act(uuidsentinel.nobody, {"pause": None}), 404)
    assert is_novas(cloud.act(uuidsentinel.unscheduled, {"pause": None}), 404)
    assert is_novas(cloud.act("nonsense", {"pause": None}), 404)
    for body in ("{", "[]", "{}", '{"pause": null, "suspend": null}', '{"no-such-action": null}'):
        assert is_novas(cloud.act(bhyve, body), 400), body
    assert is_novas(cloud.act(bhyve, "7"), 404)
    assert is_novas(cloud.act(bhyve, {"pause": None}, version="2.9999"), 406)
    assert is_novas(cloud.act(bhyve, {"pause": None}, version="two"), 400)
    # The API's version that has no such action.
    assert is_novas(cloud.act(bhyve, {"trigger_crash_dump": None}, version="2.16"), 404)
    # An instance that cannot be paused is not paused.
    assert is_novas(cloud.act(bhyve, {"unpause": None}), 409)
    assert is_novas(cloud.act(bhyve, {"resume": None}), 409)
    assert not cloud.reached


def every_address_of_the_api_has_it(cloud: Any) -> None:
    bhyve = cloud.make_instance("BHYVE")
    api, whole = cloud.server.admin_api, cloud.server.base_url
    for base in (whole, whole.rpartition("/")[0], whole.replace("v2.1", "v2")):
        api.base_url = base
        assert refused(cloud.act(bhyve, {"pause": None}), 501), base
    assert not cloud.reached


def without_the_filter_nova_accepts_it(cloud: Any) -> None:
    bhyve = cloud.make_instance("BHYVE")
    for action, asked, version, method, _ in ACTIONS:
        assert cloud.act(bhyve, {action: asked}, version=version).status_code == 202
        assert cloud.reached.pop() == (method, bhyve)


def pipelines_that_end_otherwise_are_noticed(cloud: Any) -> None:
    import tempfile

    from paste.deploy import loadapp

    import api_cloud

    with tempfile.TemporaryDirectory() as name:
        (other := Path(name) / "venv" / "etc" / "nova").mkdir(parents=True)
        (other / UPSTREAM.name).write_text(UPSTREAM.read_text().replace("osapi_compute_app_v21", "another_app"))
        (root := Path(name) / "site").mkdir()
        file = api_cloud.write_pipeline(root, other.parents[1])
        with pytest.raises(LookupError, match="ends in osapi_compute_app_v21"):
            loadapp(f"config:{file}", name="osapi_compute")


def expected_errors(method: Any) -> Iterator[int]:
    """Give the errors that nova's code says a method of its API has (the decorator of that name)."""
    while method is not None:
        names, cells = method.__code__.co_freevars, method.__closure__ or ()
        found = dict(zip(names, (cell.cell_contents for cell in cells), strict=True)).get("errors", ())
        yield from (found,) if isinstance(found, int) else found
        method = getattr(method, "__wrapped__", None)


def the_errors_are_those_that_nova_says_the_actions_have(cloud: Any) -> None:
    from nova.api.openstack.compute import (
        create_backup,
        migrate_server,
        pause_server,
        servers,
        suspend_server,
        volume_attachments,
    )

    from beastack.port.nova import refusals

    methods = {}
    for controller in (
        pause_server.PauseServerController, suspend_server.SuspendServerController,
        migrate_server.MigrateServerController, servers.ServersController, create_backup.CreateBackupController,
    ):  # fmt: skip
        for action, name in controller.wsgi_actions.items():
            methods[action] = getattr(controller, name)
    for action, refusal in refusals.ACTIONS.items():
        assert refusal.error.code in set(expected_errors(methods[action])), action
    attach = volume_attachments.VolumeAttachmentController.create
    assert refusals.ATTACH_VOLUME.error.code in set(expected_errors(attach))


#: With the site's pipelines, and with upstream's.
OURS: tuple[Callable[[Any], None], ...] = (
    on_bhyve_each_is_refused_and_on_qemu_it_is_novas, only_a_snapshot_that_would_have_to_be_quiesced_is_refused,
    who_may_not_know_hears_what_nova_says, what_nova_refuses_by_itself_is_left_to_nova,
    every_address_of_the_api_has_it,
)  # fmt: skip
STOCK: tuple[Callable[[Any], None], ...] = (
    without_the_filter_nova_accepts_it, pipelines_that_end_otherwise_are_noticed,
    the_errors_are_those_that_nova_says_the_actions_have,
)  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What went wrong in each, all in one process: to import nova takes longer than they do."""
    root = tmp_path_factory.mktemp("site")
    file = root / "outcomes.json"

    def body() -> None:
        import api_cloud

        ours = api_cloud.write_pipeline(root, VENV)
        pairs = [*((case, ours) for case in OURS), *((case, UPSTREAM) for case in STOCK)]
        file.write_text(json.dumps({case.__name__: api_cloud.run_in_cloud(case, pipeline) for case, pipeline in pairs}))

    run_apart(body)
    said: dict[str, str] = json.loads(file.read_text())
    return said


@pytest.mark.parametrize("case", [case.__name__ for case in (*OURS, *STOCK)])
def test_of_nova_api(case: str, outcomes: dict[str, str]) -> None:
    assert not outcomes[case], outcomes[case]
