"""A small OpenStack in this process: enough of five APIs for the site's client.

One HTTP server on a free port of 127.0.0.1 plays all services, each under a
path of its own. It keeps collections of plain dicts, and every request it
got, in order. It knows nothing of the code under test.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

VERSIONS = {"identity": "v3", "image": "v2", "network": "v2.0", "compute": "v2.1", "placement": ""}
WRAPPED = {
    "projects": "project",
    "roles": "role",
    "users": "user",
    "services": "service",
    "endpoints": "endpoint",
    "regions": "region",
    "flavors": "flavor",
    "servers": "server",
    "os-keypairs": "keypair",
    "networks": "network",
    "subnets": "subnet",
    "security-groups": "security_group",
    "security-group-rules": "security_group_rule",
    "os-services": "service",
    "agents": "agent",
    "ports": "port",
    "subnetpools": "subnetpool",
    "groups": "group",
    "domains": "domain",
    "os-aggregates": "aggregate",
    "os-hypervisors": "hypervisor",
    "resource_providers": "resource_provider",
}
LIST_KEYS = {"os-services": "services", "os-aggregates": "aggregates", "os-hypervisors": "hypervisors"}
ADMIN_PASSWORD = "correct horse battery"
REGION = "Workshop"


@dataclass
class Request:
    """One request as the cloud got it."""

    method: str
    service: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any

    def __str__(self) -> str:
        return f"{self.method} {self.service} {self.path}"


@dataclass
class Reply:
    """What the cloud answers; ``hang_up`` drops the connection instead."""

    status: int
    body: Any = None
    headers: dict[str, str] | None = None
    hang_up: bool = False


class FakeCloud:
    """The cloud: its content, its log of requests, and ways to make it fail."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.content: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.passwords = {"admin": ADMIN_PASSWORD}
        self.tokens: set[str] = set()
        self.token_lifetime = timedelta(hours=1)
        self.catalog_types = ["identity", "image", "network", "compute", "placement"]
        self.uploads: dict[str, bytes] = {}
        self.server_states: list[dict[str, Any]] = []
        # Drop the connection once this many bytes of an upload have come.
        self.break_uploads_after: int | None = None
        # Close each connection after its answer, without having said so.
        self.hangs_up_when_idle = False
        self.connections = 0
        self._issued = 0
        self._numbers = 0
        self._refusals: list[tuple[str, Reply]] = []
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.auth_url = f"{self.url}/identity/v3"
        self.add("identity", "projects", id="p-admin", name="admin", domain_id="default")
        self.add("identity", "users", id="u-admin", name="admin", domain_id="default")

    def stop(self) -> None:
        """Stop answering: the port refuses connections from here on."""
        self._server.shutdown()
        self._server.server_close()

    # What a test says and asks.

    def add(self, service: str, collection: str, **attributes: Any) -> dict[str, Any]:
        """Put an object in as if it had always been there."""
        with self._lock:
            self._numbers += 1
            made = {"id": f"{WRAPPED.get(collection, 'image')}-{self._numbers}", **attributes}
            self.all(service, collection).append(made)
            return made

    def all(self, service: str, collection: str) -> list[dict[str, Any]]:
        """Return a collection itself, for looking at and for changing."""
        return self.content.setdefault((service, collection), [])

    def changes(self) -> list[str]:
        """Return the requests that were to change something, as text, in order."""
        return [str(one) for one in self.requests if one.method not in ("GET", "HEAD") and one.path != "/auth/tokens"]

    def log(self) -> list[str]:
        """Return all requests as text, in order."""
        return [str(one) for one in self.requests]

    def refuse(self, request: str, status: int, body: Any = None) -> None:
        """Answer the next request that reads like this with a refusal."""
        self._refusals.append((request, Reply(status, body)))

    def revoke_tokens(self) -> None:
        """Make every token issued so far worthless."""
        self.tokens.clear()

    # Answering.

    def answer(self, request: Request) -> Reply:
        """Return the reply to one request, having done what it asks."""
        with self._lock:
            self.requests.append(request)
            for text, reply in self._refusals:
                if text == str(request):
                    self._refusals.remove((text, reply))
                    return reply
            if request.path == "/auth/tokens":
                return self._issue_token(request)
            if request.headers.get("x-auth-token") not in self.tokens:
                message = "The request you have made requires authentication."
                return Reply(401, {"error": {"code": 401, "message": message, "title": "Unauthorized"}})
            parts = [unquote(part) for part in request.path.strip("/").split("/")]
            special = self._special(request, parts)
            return special if special is not None else self._plain(request, parts)

    def _issue_token(self, request: Request) -> Reply:
        auth = request.body["auth"]
        user = auth["identity"]["password"]["user"]
        if self.passwords.get(user["name"]) != user["password"]:
            message = "The request you have made requires authentication."
            return Reply(401, {"error": {"code": 401, "message": message, "title": "Unauthorized"}})
        self._issued += 1
        token_id = f"token-{self._issued}-secret"
        self.tokens.add(token_id)
        now = datetime.now(UTC)
        described: dict[str, Any] = {
            "issued_at": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "expires_at": (now + self.token_lifetime).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "user": {"id": f"u-{user['name']}", "name": user["name"]},
        }
        if "scope" in auth:
            name = auth["scope"]["project"]["name"]
            described["project"] = {"id": f"p-{name}", "name": name}
            described["catalog"] = [self._catalog_entry(one) for one in self.catalog_types]
        return Reply(201, {"token": described}, {"X-Subject-Token": token_id})

    def _catalog_entry(self, service: str) -> dict[str, Any]:
        # With the version for some and without it for others, as in real ones.
        url = f"{self.url}/{service}" + ("/v2.1" if service == "compute" else "")
        elsewhere = {"interface": "public", "region_id": "Elsewhere", "url": "http://192.0.2.1/"}
        here = [{"interface": name, "region_id": REGION, "url": url} for name in ("public", "internal")]
        return {"type": service, "name": service, "endpoints": [elsewhere, *here]}

    def _special(self, request: Request, parts: list[str]) -> Reply | None:
        method, collection = request.method, parts[0]
        if collection == "role_assignments":
            wanted = (request.query["user.id"], request.query["scope.project.id"])
            held = [one for one in self.all("identity", "assignments") if one["pair"] == wanted]
            return Reply(200, {"role_assignments": [{"role": {"id": one["role"]}} for one in held]})
        if method == "PUT" and len(parts) == 6 and parts[4] == "roles":
            self.add("identity", "assignments", pair=(parts[3], parts[1]), role=parts[5])
            return Reply(204)
        if collection == "images" and method == "POST":
            image = self.add("image", "images", status="queued", owner="p-admin", os_hidden=False)
            image.update(request.body)
            return Reply(201, image)
        if collection == "images" and method == "PATCH":
            for change in request.body:
                self._one("image", "images", parts[1])[change["path"].strip("/")] = change["value"]
            return Reply(200, self._one("image", "images", parts[1]))
        if collection == "images" and method == "PUT":
            return self._receive_image(parts[1], request.body)
        if parts[-1] == "remote-consoles":
            console = dict(request.body["remote_console"])
            console["url"] = f"{self.url}/{console['type']}?token=console-secret"
            return Reply(200, {"remote_console": console})
        if parts[-1] == "action" and "os-getConsoleOutput" in request.body:
            return Reply(200, {"output": "guest: address 10.0.0.7\n"})
        if collection == "servers" and method == "GET" and len(parts) == 2 and self.server_states:
            state = self.server_states.pop(0) if len(self.server_states) > 1 else self.server_states[0]
            return Reply(200, {"server": {"id": parts[1], "name": "first", **state}})
        return None

    def _receive_image(self, image_id: str, data: bytes | None) -> Reply:
        image = self._one("image", "images", image_id)
        if data is None:
            return Reply(0, hang_up=True)
        self.uploads[image_id] = data
        image.update(status="active", size=len(data), os_hash_algo="sha512")
        image["os_hash_value"] = hashlib.sha512(data).hexdigest()
        return Reply(204)

    def _plain(self, request: Request, parts: list[str]) -> Reply:
        collection = parts[0]
        if collection not in WRAPPED and collection != "images":
            return Reply(404, {"error": {"message": f"nothing at {request.path}"}})
        wrap = WRAPPED.get(collection)
        objects = self.all(request.service, collection)
        if len(parts) == 1 or parts[1] == "detail":
            if request.method == "POST":
                assert wrap is not None
                return Reply(201, {wrap: self._make(request.service, collection, request.body[wrap])})
            found = [one for one in objects if _matches(one, request.query)]
            return Reply(200, {LIST_KEYS.get(collection, collection.replace("-", "_")): found})
        named = [one for one in objects if parts[1] in (one["id"], collection == "os-keypairs" and one["name"])]
        if not named:
            return Reply(404, {"itemNotFound": {"message": f"{parts[1]} could not be found.", "code": 404}})
        if request.method == "DELETE":
            objects.remove(named[0])
            return Reply(204)
        if request.method == "PATCH":
            assert wrap is not None
            self._change(collection, named[0], request.body[wrap])
        return Reply(200, {wrap: named[0]} if wrap else named[0])

    def _make(self, service: str, collection: str, attributes: dict[str, Any]) -> dict[str, Any]:
        attributes = dict(attributes)
        if collection == "users":
            self.passwords[attributes["name"]] = attributes.pop("password")
        return self.add(service, collection, **attributes)

    def _change(self, collection: str, found: dict[str, Any], change: dict[str, Any]) -> None:
        change = dict(change)
        if collection == "users" and "password" in change:
            self.passwords[found["name"]] = change.pop("password")
        found.update(change)

    def _one(self, service: str, collection: str, object_id: str) -> dict[str, Any]:
        return next(one for one in self.all(service, collection) if one["id"] == object_id)


def _matches(one: dict[str, Any], query: dict[str, str]) -> bool:
    """Filter as the services do: unknown filters are ignored, and nova's name is a pattern."""
    for name, value in query.items():
        if name not in one:
            continue
        if name == "name" and value.startswith("^"):
            if not re.search(value, str(one[name])):
                return False
        elif str(one[name]) != value:
            return False
    return True


def _handler(cloud: FakeCloud) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body are two writes; without this each answer waits for an ACK.
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            cloud.connections += 1

        def _serve(self) -> None:
            url = urlsplit(self.path)
            service, _, path = url.path.strip("/").partition("/")
            path = "/" + path.removeprefix(VERSIONS.get(service, "")).lstrip("/")
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self._body(headers)
            request = Request(self.command, service, path, dict(parse_qsl(url.query)), headers, body)
            reply = cloud.answer(request)
            if reply.hang_up:
                self.close_connection = True
                return
            is_html = isinstance(reply.body, str)
            data = b"" if reply.body is None else (reply.body if is_html else json.dumps(reply.body)).encode()
            self.send_response(reply.status)
            self.send_header("Content-Type", "text/html" if is_html else "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in (reply.headers or {}).items():
                self.send_header(name, value)
            # The client may have given up on this request, as some tests have it do.
            with contextlib.suppress(ConnectionError):
                self.end_headers()
                self.wfile.write(data)
            if cloud.hangs_up_when_idle:
                self.close_connection = True

        def _body(self, headers: dict[str, str]) -> Any:
            length = int(headers.get("content-length", "0"))
            if headers.get("content-type") == "application/octet-stream":
                if cloud.break_uploads_after is not None:
                    self.rfile.read(cloud.break_uploads_after)
                    return None
                return self.rfile.read(length)
            data = self.rfile.read(length)
            return json.loads(data) if data else None

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

        def log_message(self, *_args: Any) -> None:
            pass

    return Handler
