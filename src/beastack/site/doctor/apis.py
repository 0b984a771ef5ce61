"""The APIs: whether each answers, and takes the site's credentials."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from beastack.site.api import CloudError
from beastack.site.doctor.finding import Finding, bad, good
from beastack.site.doctor.view import View
from beastack.site.resources import COMPUTE_API


def check_apis(view: View) -> Iterator[Finding]:
    """Each API answers HTTP."""
    for name, (answers, seen) in view.apis.items():
        if answers:
            yield good(name, seen)
        else:
            yield bad(name, f"it does not answer: {seen}", f"{view.command('logs', name)}; {view.command('up')}")


def check_token(view: View) -> Iterator[Finding]:
    """Keystone gives the administrator a token."""
    works, seen = view.token
    if works:
        yield good("token", seen)
    else:
        remedy = f"{view.command('logs', 'keystone')}; if the admin password was changed: {view.redo}"
        yield bad("token", seen, remedy)


def check_user(view: View) -> Iterator[Finding]:
    """The credentials in clouds.yaml are accepted."""
    demo = view.admin.as_user("demo", view.site.secrets["demo"], "demo")
    try:
        yield good("user", f"demo is in project {demo.project_id}")
    except CloudError as error:
        yield bad("user", str(error), view.redo)


def check_images(view: View) -> Iterator[Finding]:
    """Glance lists images, and each has its data."""
    images = view.admin.items("image", "/images", "images", {"limit": "1000"})
    unusable = [one for one in images if one["status"] in ("killed", "deactivated")]
    for one in unusable:
        remedy = view.openstack("image", "delete" if one["status"] == "killed" else "set --activate", one["id"])
        yield bad("images", f"{one['name']} is {one['status']}", remedy)
    if not unusable:
        yield good("images", f"{len(images)} there")


def check_resource_provider(view: View) -> Iterator[Finding]:
    """Placement and nova's cell know this host: without, no instance is ever sent here."""
    name = view.site.hostname
    known = view.admin.items("placement", "/resource_providers", "resource_providers")
    hypervisors = view.admin.items("compute", "/os-hypervisors", "hypervisors", microversion=COMPUTE_API)
    if not any(one["name"] == name for one in known):
        yield bad("compute host", f"placement does not know {name}", view.restart("nova-compute"))
    elif not any(one["hypervisor_hostname"] == name for one in hypervisors):
        yield bad("compute host", f"no cell of nova has {name}", view.redo)
    else:
        yield good("compute host", f"{name} takes instances")


def check_consoles(view: View) -> Iterator[Finding]:
    """The console proxies listen."""
    for name, key in (("nova-novncproxy", "novnc"), ("nova-serialproxy", "serial")):
        port = getattr(view.site.ports, key)
        try:
            with socket.create_connection((view.site.address, port), timeout=5):
                pass
        except OSError as error:
            seen = f"port {port}: {error.strerror or error}"
            yield bad(name, seen, f"{view.command('logs', name)}; {view.restart(name)}")
            continue
        pages = view.layout.data("novnc") / "vnc_lite.html"
        if key == "novnc" and not pages.exists():
            yield bad(name, f"its pages are gone from {pages.parent}", view.redo)
        else:
            yield good(name, f"it listens on port {port}")
