"""A filter in nova-api's pipeline: what instances on bhyve cannot do is refused at once.

nova tells most of what an instance is to do to its host by a message that
nobody answers (``cast`` in nova/compute/rpcapi.py), and its API says 202 before
the driver has seen it. Where the driver has no such thing at all, this
filter answers in nova's place: with the error that nova's API reference
documents for the action, in nova's own format. Whatever nova itself refuses
(an instance that the caller may not see, an action that he may not do) goes on
to nova, as does everything about instances on hosts of other hypervisors.

Its place is behind authentication and right before the application (api_pipeline).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import webob.dec  # type: ignore[import-untyped]
from nova import context as nova_context
from nova import exception, objects
from nova.api import wsgi as base
from nova.api.openstack import api_version_request, wsgi
from nova.compute import vm_states
from nova.policies import create_backup, migrate_server, pause_server, servers, suspend_server, volumes_attachments
from oslo_utils import strutils
from webob import exc

#: What libvirt's bhyve driver calls itself, and nova after it.
HYPERVISOR = "BHYVE"

#: Below the API's version, and with or without a project.
PATH = re.compile(r"(?:/[0-9a-f-]+)?/servers/(?P<id>[^/]+)/(?P<what>action|os-volume_attachments)")


def always(instance: Any) -> bool:
    """Tell that it does not depend on the instance."""
    return True


def requires_quiesce(instance: Any) -> bool:
    """Tell whether a snapshot must be of quiet file systems: the image says so, and the guest runs."""
    wanted = instance.system_metadata.get("image_os_require_quiesce", False)
    return instance.vm_state == vm_states.ACTIVE and strutils.bool_from_string(wanted)


@dataclass(frozen=True)
class Refusal:
    """The answer to what bhyve cannot do.

    ``policies`` are nova's, of which the caller needs any to hear of it;
    ``since`` is the API's version that brought the action, if it was not always there.
    """

    error: type[Any]
    text: str
    policies: tuple[str, ...]
    concerns: Callable[[Any], bool] = always
    since: str | None = None


_QUIESCE = (
    "Instances on bhyve cannot be quiesced, which the image of this one requires (os_require_quiesce): stop it first."
)

#: By the name of the action, with the errors of nova's API reference. Not here is what nova refuses itself: an instance
#: that cannot be paused is never unpaused.
ACTIONS = {
    "pause": Refusal(
        exc.HTTPNotImplemented, "Instances on bhyve cannot be paused.", (pause_server.POLICY_ROOT % "pause",)
    ),
    "suspend": Refusal(
        exc.HTTPConflict, "Instances on bhyve cannot be suspended.", (suspend_server.POLICY_ROOT % "suspend",)
    ),
    "os-migrateLive": Refusal(
        exc.HTTPBadRequest, "Instances on bhyve cannot be migrated while they run.",
        (migrate_server.POLICY_ROOT % "migrate_live", migrate_server.POLICY_ROOT % "migrate_live:host"),
    ),
    "trigger_crash_dump": Refusal(
        exc.HTTPBadRequest, "A crash dump cannot be triggered in instances on bhyve.",
        (servers.SERVERS % "trigger_crash_dump",), since="2.17",
    ),
    "createImage": Refusal(exc.HTTPBadRequest, _QUIESCE, (servers.SERVERS % "create_image",), requires_quiesce),
    "createBackup": Refusal(exc.HTTPBadRequest, _QUIESCE, (create_backup.BASE_POLICY_NAME,), requires_quiesce),
}  # fmt: skip

ATTACH_VOLUME = Refusal(
    exc.HTTPBadRequest, "Volumes cannot be attached to instances on bhyve.",
    (volumes_attachments.POLICY_ROOT % "create",),
)  # fmt: skip


class Refusals(base.Middleware):
    """The filter."""

    @webob.dec.wsgify(RequestClass=wsgi.Request)  # type: ignore[untyped-decorator]
    def __call__(self, req: Any) -> Any:
        """Answer with a refusal, or let nova answer."""
        asked = find_refusal(req)
        if asked is None:
            return self.application
        refusal, number = asked
        try:
            req.set_api_version_request()
            if refusal.since and not api_version_request.is_supported(req, refusal.since):
                return self.application
            refused = is_refused(req.environ["nova.context"], number, refusal)
        except (exception.InvalidAPIVersionString, exception.InvalidGlobalAPIVersion):
            return self.application
        return wsgi.Fault(refusal.error(explanation=refusal.text)) if refused else self.application


def find_refusal(req: Any) -> tuple[Refusal, str] | None:
    """Return how a request would be refused, and of what instance; None for what any instance can do."""
    if req.method != "POST":
        return None
    found = PATH.fullmatch(req.path_info)
    if found is None:
        return None
    if found["what"] != "action":
        return ATTACH_VOLUME, found["id"]
    try:
        body = json.loads(req.body)
    except ValueError:
        return None
    if not isinstance(body, dict) or len(body) != 1:
        return None
    refusal = ACTIONS.get(next(iter(body)))
    return None if refusal is None else (refusal, found["id"])


def is_refused(context: Any, number: str, refusal: Refusal) -> bool:
    """Tell whether an instance cannot do it, and whether it is for the caller to know."""
    try:
        mapping = objects.InstanceMapping.get_by_instance_uuid(context, number)
        if mapping.cell_mapping is None:
            return False
        with nova_context.target_cell(context, mapping.cell_mapping) as cell:
            # Found for those who may see it, as by the API.
            instance = objects.Instance.get_by_uuid(cell, number, expected_attrs=["system_metadata"])
            if not (is_on_bhyve(cell, instance) and refusal.concerns(instance)):
                return False
    except (exception.InstanceMappingNotFound, exception.InstanceNotFound):
        return False
    target = {"user_id": instance.user_id, "project_id": instance.project_id}
    return any(context.can(policy, target=target, fatal=False) for policy in refusal.policies)


def is_on_bhyve(context: Any, instance: Any) -> bool:
    """Tell whether an instance's host is one of bhyve's."""
    if not instance.host or not instance.node:
        return False
    try:
        node = objects.ComputeNode.get_by_host_and_nodename(context, instance.host, instance.node)
    except exception.ComputeHostNotFound:
        return False
    return bool(node.hypervisor_type == HYPERVISOR)
