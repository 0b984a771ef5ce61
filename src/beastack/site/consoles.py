"""Consoles of instances for a browser: which instance is meant, and the address of a page that shows it."""

from __future__ import annotations

import re

from beastack.site.api import Cloud
from beastack.site.resources import COMPUTE_API, ResourceError, get_console_url

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def find_server(cloud: Cloud, name: str) -> str:
    """Return the id of the server of this name or id, in any project; asked as the administrator.

    :raises ResourceError: there is none, or more than one
    """
    # nova's filter is a regular expression; that one more than matches is sorted out here.
    query = {"all_tenants": "1", "uuid": name} if _UUID.fullmatch(name) else {"all_tenants": "1", "name": name}
    servers = cloud.items("compute", "/servers", "servers", query, COMPUTE_API)
    found = [str(one["id"]) for one in servers if name in (one["id"], one["name"])]
    if not found:
        raise ResourceError(f"there is no instance {name}")
    if len(found) > 1:
        raise ResourceError(f"{len(found)} instances are called {name}; say which by its id: {', '.join(found)}")
    return found[0]


def get_console_page(cloud: Cloud, server_id: str, kind: str) -> str:
    """Return the address of a page for a browser that shows a server's console; as secret as ``get_console_url``'s.

    The serial proxy's own is one for websockets; it serves its page at the same place.

    :param kind: ``novnc`` or ``serial``
    """
    url = get_console_url(cloud, server_id, kind)
    return f"http{url.removeprefix('ws')}" if url.startswith("ws") else url
