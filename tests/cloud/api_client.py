"""Asks the cloud's APIs from where they can be reached: the network of a simulated host. Linux, standard library.

Run with the address of the identity API, its version included, and the name of a user, who has a project of the
same name; the first line of standard input is the user's password. Each further line is a request as JSON
(``service``, ``method``, ``path``, ``body`` or the name of a ``file`` to send, ``version`` as a header that asks for a
microversion), and each line of output its answer (``status``, ``body``).
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

LIMIT = 60  # seconds for one request
TRIES = 2  # a token that ran out is replaced once


def request(
    method: str, url: str, token: str | None, body: Any, *, file: str | None = None, version: str | None = None
) -> tuple[int, Any, str]:
    """Make one request; returns status, body (JSON or text), and the token that came with it."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    if file is not None:
        data, headers["Content-Type"] = Path(file).read_bytes(), "application/octet-stream"
    if version is not None:
        headers["OpenStack-API-Version"] = version
    asked = urllib.request.Request(url, data, headers, method=method)
    if token:
        asked.add_header("X-Auth-Token", token)
    try:
        with urllib.request.urlopen(asked, timeout=LIMIT) as answer:
            status, text, given = answer.status, answer.read().decode(), answer.headers.get("X-Subject-Token", "")
    except urllib.error.HTTPError as error:
        status, text, given = error.code, error.read().decode(), ""
    try:
        return status, json.loads(text) if text else None, given
    except json.JSONDecodeError:
        return status, text, given


class Client:
    """A user, with a token and the catalogue that came with it."""

    def __init__(self, identity: str, user: str, password: str) -> None:
        self.identity, self.user, self.password = identity, user, password
        self.token = ""
        self.urls: dict[str, str] = {}

    def log_in(self) -> None:
        """Obtain a token."""
        domain = {"id": "default"}
        user = {"name": self.user, "domain": domain, "password": self.password}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": self.user, "domain": domain}},
            }
        }
        status, said, self.token = request("POST", f"{self.identity}/auth/tokens", None, body)
        if status != 201:
            raise OSError(f"no token: {status} {said}")
        for service in said["token"]["catalog"]:
            for endpoint in service["endpoints"]:
                if endpoint["interface"] == "public":
                    self.urls[service["type"]] = endpoint["url"].rstrip("/")

    def ask(self, service: str, method: str, path: str, body: Any, **options: str) -> tuple[int, Any]:
        """Make a request of a service and return status and body."""
        for _ in range(TRIES):
            if not self.token:
                self.log_in()
            status, said, _ = request(method, self.urls[service] + path, self.token, body, **options)
            if status != 401:
                break
            self.token = ""
        return status, said


def main() -> None:
    """Answer requests until there are no more."""
    client = Client(sys.argv[1], sys.argv[2], sys.stdin.readline().strip())
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            options = {name: asked[name] for name in ("file", "version") if asked.get(name)}
            status, body = client.ask(asked["service"], asked["method"], asked["path"], asked.get("body"), **options)
        except OSError as error:
            status, body = 0, str(error)
        print(json.dumps({"status": status, "body": body}), flush=True)


if __name__ == "__main__":
    main()
