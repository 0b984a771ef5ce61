"""K1: keystone keeps a request's token from its other threads.

Its AuthContextMiddleware has one instance, and keeps the token of the request
under way in an attribute of it. Between there and the roles that policy goes
by, another thread's request may have put its own token in place. Here the
attribute is each thread's own, and empty when a request begins.
"""

from __future__ import annotations

import threading
from typing import Any

from beastack.seams.registry import Seam
from beastack.seams.source import CLASS


def _make(original: type[Any]) -> type[Any]:
    class AuthContextMiddleware(original):
        def __init__(self, app: Any) -> None:
            self._thread = threading.local()
            super().__init__(app)

        @property
        def token(self) -> Any:
            return getattr(self._thread, "token", None)

        @token.setter
        def token(self, token: Any) -> None:
            self._thread.token = token

        def process_request(self, request: Any) -> Any:
            self.token = None
            return super().process_request(request)

    return AuthContextMiddleware


SEAM = Seam(
    id="K1",
    kind=CLASS,
    distribution="keystone",
    module="keystone.server.flask.request_processing.middleware.auth_context",
    why="keystone keeps the token of the request under way where its other threads see it, "
    "and may answer a request by another's roles",
    since="0.1.0",
    retired_by="keystone keeping the token with the request",
    processes=("keystone",),
    hosts=("linux", "freebsd"),
    hashes={"29": "87fb0f12c143f701", "30": "97a475451bb73d7f"},
    make={"AuthContextMiddleware": _make},
)
