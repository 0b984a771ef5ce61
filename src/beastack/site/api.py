"""The site's own client of the OpenStack services: HTTP, JSON and nothing more.

The site never imports upstream OpenStack code, so that it can run before any
of it is installed and beside any release of it. A ``Cloud`` is one user in
one project: it keeps a token, finds services in the catalogue, keeps
connections open, and turns refusals into typed errors of one line each, none
of which ever carries a password or a token.

Paths are relative to the version of the API that the site speaks (see
``API_VERSIONS``): ``cloud.get("image", "/images")``, not ``/v2/images``.
"""

from __future__ import annotations

import hashlib
import html
import http.client
import json
import re
import select
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

DEFAULT_TIMEOUT = 60.0
# How long glance may take to answer after the last byte of an image: it
# writes and hashes what is still on its way, on a slow disk for minutes.
UPLOAD_TIMEOUT = 600.0
UPLOAD_BLOCK = 256 * 1024
# A token this close to its end is renewed before use, so that a service that
# passes it on to another one does not find it expired half-way.
EXPIRY_MARGIN = 60.0
LONGEST_MESSAGE = 500

# Catalogues name the version for some services and not for others. The site
# always speaks these, whatever the catalogue's URL ends in.
API_VERSIONS = {
    "identity": "/v3",
    "image": "/v2",
    "network": "/v2.0",
    "compute": "/v2.1",
    "placement": "",
}
# Repeating these on a connection that broke cannot do a thing twice.
REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
# Fields of a request whose value a service might quote in its refusal.
SECRET_FIELDS = frozenset({"password", "original_password", "adminPass", "user_data", "secret"})

Progress = Callable[[int, int], None]


class CloudError(Exception):
    """Anything that can go wrong between the site and a service's API."""


class ApiError(CloudError):
    """A service answered, and the answer was a refusal or made no sense."""

    def __init__(self, service: str, method: str, path: str, status: int, message: str) -> None:
        self.service = service
        self.method = method
        self.path = path
        self.status = status
        self.message = message
        super().__init__(f"{service} answered {status} to {method} {path}: {message}")


class AuthenticationFailed(ApiError):
    """The identity service refused the user name, password or project."""


class ApiUnreachable(CloudError):
    """A service did not answer: refused, reset, or silent past the time limit."""

    def __init__(self, service: str, method: str, path: str, address: str, reason: str) -> None:
        self.service = service
        self.method = method
        self.path = path
        self.address = address
        self.reason = reason
        super().__init__(f"{service} at {address} did not answer {method} {path}: {reason}")


class ServiceMissing(CloudError):
    """The service catalogue has no endpoint of that type in the region."""

    def __init__(self, service: str, region: str) -> None:
        self.service = service
        self.region = region
        super().__init__(f"the service catalogue has no {service} endpoint in region {region}")


class AmbiguousName(CloudError):
    """Several objects bear a name that should mean one."""

    def __init__(self, service: str, path: str, name: str, count: int) -> None:
        self.service = service
        self.path = path
        self.name = name
        self.count = count
        super().__init__(f"{service} has {count} objects named {name} under {path}")


class UploadError(CloudError):
    """The file being uploaded changed or could not be read to its end."""


@dataclass(frozen=True)
class _Token:
    """A token with what came with it; ``renew_at`` is on the cloud's clock."""

    id: str = field(repr=False)
    renew_at: float
    project_id: str
    user_id: str
    catalog: list[dict[str, Any]] = field(repr=False)


@dataclass(frozen=True)
class _Answer:
    status: int
    reason: str
    headers: http.client.HTTPMessage
    body: bytes


class _Connections(dict[tuple[str, str], http.client.HTTPConnection]):
    """One thread's open connections, by scheme and address."""

    def close(self) -> None:
        for connection in self.values():
            connection.close()

    def __del__(self) -> None:
        # A thread that ends tells nobody; its connections end with it.
        self.close()


class _FileBody:
    """A request body read from a file as it is sent; can be sent again."""

    def __init__(self, source: BinaryIO, progress: Progress | None) -> None:
        self._source = source
        self._progress = progress
        self._start = source.tell()
        self.length = source.seek(0, 2) - self._start
        self.sha256 = ""

    def blocks(self) -> Iterator[bytes]:
        """Yield the file from its start; afterwards ``sha256`` is what was sent."""
        self._source.seek(self._start)
        digest = hashlib.sha256()
        sent = 0
        while sent < self.length:
            try:
                block = self._source.read(min(UPLOAD_BLOCK, self.length - sent))
            except OSError as error:
                # Its own type: as an OSError it would pass for a broken connection.
                raise UploadError(f"the file could not be read: {error.strerror}") from error
            if not block:
                raise UploadError(f"the file ended after {sent} of {self.length} bytes while being uploaded")
            digest.update(block)
            yield block
            sent += len(block)
            if self._progress is not None:
                self._progress(sent, self.length)
        self.sha256 = digest.hexdigest()


class Cloud:
    """One user in one project of a cloud, as seen over HTTP.

    Safe to call from several threads: each thread has connections of its
    own, and the token is renewed by one of them while the others wait.

    :param auth_url: the identity service, with or without ``/v3``
    :param project: the project's name; None for a token without scope
    :param interface: which endpoints of the catalogue to use
    :param timeout: seconds without an answer until a request fails
    :param cafile: certificates to trust instead of the system's, for https
    :param clock: the clock token expiry is measured on, in seconds
    """

    def __init__(
        self,
        auth_url: str,
        username: str,
        password: str,
        project: str | None,
        user_domain: str = "Default",
        project_domain: str = "Default",
        *,
        region: str,
        interface: str = "public",
        timeout: float = DEFAULT_TIMEOUT,
        cafile: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.auth_url = _versioned(auth_url, API_VERSIONS["identity"])
        self.username = username
        self.project = project
        self.user_domain = user_domain
        self.project_domain = project_domain
        self.region = region
        self.interface = interface
        self.timeout = timeout
        self._cafile = cafile
        self._clock = clock
        self._password = password
        self._token: _Token | None = None
        self._token_lock = threading.Lock()
        self._local = threading.local()

    def __repr__(self) -> str:
        return (
            f"Cloud(auth_url={self.auth_url!r}, username={self.username!r},"
            f" project={self.project!r}, region={self.region!r})"
        )

    def as_user(self, username: str, password: str, project: str | None) -> Cloud:
        """Return the same cloud seen by another user (of the same domains)."""
        return Cloud(
            self.auth_url,
            username,
            password,
            project,
            self.user_domain,
            self.project_domain,
            region=self.region,
            interface=self.interface,
            timeout=self.timeout,
            cafile=self._cafile,
            clock=self._clock,
        )

    def close(self) -> None:
        """Close the connections of the calling thread; a later call reopens them."""
        self._connections().close()

    # The token and what comes with it.

    @property
    def project_id(self) -> str:
        """The id of the token's project. Raises what authentication raises."""
        return self._current_token().project_id

    @property
    def user_id(self) -> str:
        """The id of the token's user. Raises what authentication raises."""
        return self._current_token().user_id

    def refresh(self) -> None:
        """Forget the token, so that the next call fetches a new catalogue."""
        with self._token_lock:
            self._token = None

    def endpoint(self, service: str) -> str:
        """Return the URL of a service type, with the API version the site speaks.

        The identity service is always the one at ``auth_url``: it must be
        reachable before there is a catalogue, or while that is wrong.

        :raises ServiceMissing: the catalogue does not have it in the region
        :raises ApiError, ApiUnreachable: no token could be had
        """
        if service == "identity":
            return self.auth_url
        url = self._catalog_url(service, self._current_token())
        if url is None:
            # The service may have been registered after the token was issued.
            self.refresh()
            url = self._catalog_url(service, self._current_token())
        if url is None:
            raise ServiceMissing(service, self.region)
        version = API_VERSIONS.get(service)
        return url.rstrip("/") if version is None else _versioned(url, version)

    def password_works(self, username: str, password: str, user_domain: str | None = None) -> bool:
        """Say whether a user's password is accepted, whatever roles the user has.

        :raises ApiError: the identity service answered neither yes nor no
        :raises ApiUnreachable: it did not answer
        """
        try:
            self._authenticate(username, password, user_domain or self.user_domain, None)
        except AuthenticationFailed:
            return False
        return True

    def _catalog_url(self, service: str, token: _Token) -> str | None:
        for entry in token.catalog:
            if entry.get("type") != service:
                continue
            for endpoint in entry.get("endpoints", ()):
                region = endpoint.get("region_id") or endpoint.get("region")
                if endpoint.get("interface") == self.interface and region == self.region:
                    return str(endpoint["url"])
        return None

    def _current_token(self) -> _Token:
        with self._token_lock:
            if self._token is None or self._clock() >= self._token.renew_at:
                scope = None
                if self.project is not None:
                    scope = {"project": {"name": self.project, "domain": {"name": self.project_domain}}}
                self._token = self._authenticate(self.username, self._password, self.user_domain, scope)
            return self._token

    def _reject(self, token: _Token) -> None:
        """Forget a token that a service refused, unless another thread already did."""
        with self._token_lock:
            if self._token is token:
                self._token = None

    def _authenticate(self, username: str, password: str, user_domain: str, scope: dict[str, Any] | None) -> _Token:
        user = {"name": username, "domain": {"name": user_domain}, "password": password}
        auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
        if scope is not None:
            auth["scope"] = scope
        path = "/auth/tokens"
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        payload = json.dumps({"auth": auth}).encode()
        asked_at = self._clock()
        url = self.auth_url + path
        answer = self._exchange("identity", "POST", path, url, headers, payload, self.timeout)
        if answer.status == 401:
            message = f"user {username} was not accepted: {error_message(answer.body, answer.reason)}"
            raise AuthenticationFailed("identity", "POST", path, 401, _hide(message, {password}))
        if answer.status != 201:
            message = _hide(error_message(answer.body, answer.reason), {password})
            raise ApiError("identity", "POST", path, answer.status, message)
        try:
            return _read_token(answer, asked_at)
        except (ValueError, KeyError, TypeError, AttributeError):
            # Without its cause: that could quote the answer, and so the token.
            problem = "the answer is not a token"
            raise ApiError("identity", "POST", path, answer.status, problem) from None

    # Requests.

    def request(
        self,
        method: str,
        service: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        ok: Sequence[int] = (),
        *,
        query: Mapping[str, str] | None = None,
        microversion: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Send one request and return the decoded answer, or None if it is empty.

        :param body: sent as JSON unless None
        :param headers: added to, or in place of, the usual ones
        :param ok: the statuses that are not an error; without it every 2xx.
            A status of 400 or more that is accepted here returns None.
        :param microversion: such as ``2.96``, for compute and placement
        :param timeout: seconds without an answer, instead of the cloud's
        :raises ApiError: the service refused (AuthenticationFailed: the user was)
        :raises ApiUnreachable: the service did not answer
        :raises ServiceMissing: the catalogue does not have the service
        """
        all_headers = {"Accept": "application/json"}
        payload = None
        if body is not None:
            payload = json.dumps(body).encode()
            all_headers["Content-Type"] = "application/json"
        if microversion is not None:
            all_headers["OpenStack-API-Version"] = f"{service} {microversion}"
        all_headers.update(headers or {})
        target = f"{path}?{urlencode(query)}" if query else path
        answer = self._authorised(service, method, target, all_headers, payload, timeout or self.timeout)
        self._check(service, method, path, answer, ok, _secrets_in(body))
        if answer.status >= 400 or not answer.body.strip():
            return None
        try:
            return json.loads(answer.body)
        except ValueError:
            raise ApiError(service, method, path, answer.status, "the answer is not JSON") from None

    def get(self, service: str, path: str, **options: Any) -> Any:
        """GET; options and errors as for ``request``."""
        return self.request("GET", service, path, **options)

    def post(self, service: str, path: str, body: Any = None, **options: Any) -> Any:
        """POST; options and errors as for ``request``."""
        return self.request("POST", service, path, body, **options)

    def put(self, service: str, path: str, body: Any = None, **options: Any) -> Any:
        """PUT; options and errors as for ``request``."""
        return self.request("PUT", service, path, body, **options)

    def patch(self, service: str, path: str, body: Any = None, **options: Any) -> Any:
        """PATCH; options and errors as for ``request``."""
        return self.request("PATCH", service, path, body, **options)

    def delete(self, service: str, path: str, **options: Any) -> Any:
        """DELETE; options and errors as for ``request``."""
        return self.request("DELETE", service, path, **options)

    def items(
        self,
        service: str,
        path: str,
        key: str,
        query: Mapping[str, str] | None = None,
        microversion: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return a collection: the list under ``key`` of the answer to GET.

        :raises ApiError: as ``request``, and when the answer has no such list
        """
        answer = self.get(service, path, query=query, microversion=microversion)
        found = answer.get(key) if isinstance(answer, dict) else None
        if not isinstance(found, list):
            raise ApiError(service, "GET", path, 200, f"the answer has no list of {key}")
        return found

    def find(self, service: str, collection_path: str, key: str, name: str, **filters: str) -> dict[str, Any] | None:
        """Return the one object of a collection with exactly this name, or None.

        :param key: the list's key in the answer, such as ``networks``
        :param filters: further attributes to ask the service for
        :raises AmbiguousName: there are several
        :raises ApiError, ApiUnreachable: as ``request``
        """
        # Services differ in what they make of the name filter (a pattern,
        # nothing at all), so the exact comparison is made here.
        found = self.items(service, collection_path, key, {"name": name, **filters})
        exact = [item for item in found if item.get("name") == name]
        if len(exact) > 1:
            raise AmbiguousName(service, collection_path, name, len(exact))
        return exact[0] if exact else None

    def upload(
        self,
        service: str,
        path: str,
        source: Path | BinaryIO,
        *,
        content_type: str = "application/octet-stream",
        progress: Progress | None = None,
        timeout: float = UPLOAD_TIMEOUT,
    ) -> str:
        """PUT a file, block by block, and return the SHA-256 (hex) of what was sent.

        :param source: a path, or a seekable binary file, sent from where it stands
        :param progress: called with the bytes sent so far and the total
        :param timeout: seconds without progress until it fails
        :raises UploadError: the file is not readable, or got shorter meanwhile
        :raises ApiError, ApiUnreachable: as ``request``
        """
        if isinstance(source, Path):
            try:
                opened = source.open("rb")
            except OSError as error:
                raise UploadError(f"cannot read {source}: {error.strerror}") from error
            with opened:
                return self.upload(service, path, opened, content_type=content_type, progress=progress, timeout=timeout)
        body = _FileBody(source, progress)
        headers = {"Content-Type": content_type, "Content-Length": str(body.length)}
        answer = self._authorised(service, "PUT", path, headers, body, timeout)
        self._check(service, "PUT", path, answer, (), set())
        return body.sha256

    def _check(
        self,
        service: str,
        method: str,
        path: str,
        answer: _Answer,
        ok: Sequence[int],
        secrets: set[str],
    ) -> None:
        accepted = answer.status in ok if ok else 200 <= answer.status < 300
        if not accepted:
            message = error_message(answer.body, answer.reason)
            token = self._token
            secrets = secrets | {self._password} | ({token.id} if token else set())
            raise ApiError(service, method, path, answer.status, _hide(message, secrets))

    def _authorised(
        self,
        service: str,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | _FileBody | None,
        timeout: float,
    ) -> _Answer:
        """Send with the token; when that is refused, renew it and send once more."""
        for attempt in (1, 2):
            url = self.endpoint(service) + target
            token = self._current_token()
            with_token = {**headers, "X-Auth-Token": token.id}
            answer = self._exchange(service, method, target, url, with_token, body, timeout)
            if answer.status != 401 or attempt == 2:
                break
            self._reject(token)
        return answer

    # Connections.

    def _connections(self) -> _Connections:
        kept: _Connections | None = getattr(self._local, "connections", None)
        if kept is None:
            kept = self._local.connections = _Connections()
        return kept

    def _connection(self, parts: SplitResult, timeout: float) -> http.client.HTTPConnection:
        """Return this thread's connection to a server, open or ready to open."""
        connection = self._connections().get((parts.scheme, parts.netloc))
        if connection is None:
            host, port = parts.hostname or "", parts.port
            if parts.scheme == "https":
                context = ssl.create_default_context(cafile=self._cafile)
                connection = http.client.HTTPSConnection(host, port, context=context)
            else:
                connection = http.client.HTTPConnection(host, port)
            self._connections()[parts.scheme, parts.netloc] = connection
        connection.timeout = timeout
        if connection.sock is not None:
            if _has_news(connection):
                connection.close()
            else:
                connection.sock.settimeout(timeout)
        return connection

    def _exchange(
        self,
        service: str,
        method: str,
        target: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | _FileBody | None,
        timeout: float,
    ) -> _Answer:
        parts = urlsplit(url)
        path = target.partition("?")[0]
        while True:
            connection = self._connection(parts, timeout)
            if isinstance(body, _FileBody):
                # A file is not sent on a connection that may be about to end.
                connection.close()
            reused = connection.sock is not None
            try:
                return _transact(connection, method, urlunsplit(("", "", *parts[2:])), headers, body)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # The server may close a kept connection just as the request
                # is on its way: the one failure that says nothing about it.
                if reused and method in REPEATABLE and isinstance(error, ConnectionError):
                    continue
                reason = _failure_reason(error, timeout)
                raise ApiUnreachable(service, method, path, parts.netloc, reason) from error
            except BaseException:
                # Interrupted half-way: what is left on it belongs to nobody.
                connection.close()
                raise


def error_message(body: bytes, reason: str) -> str:
    """Return a refusal's message as one line, from JSON, HTML or plain text.

    :param reason: the status line's reason, for when the body says nothing
    """
    text = body.decode("utf-8", "replace")
    try:
        message = _message_in(json.loads(text))
    except ValueError:
        # Glance and the web servers in front answer in HTML; the heading
        # only repeats the status.
        text = re.sub(r"(?is)<(head|h1|style|script)\b.*?</\1>", " ", text)
        message = html.unescape(re.sub(r"<[^>]*>", " ", text))
    message = " ".join(re.sub(r"(?i)<br\s*/?>", " ", message).split())
    if len(message) > LONGEST_MESSAGE:
        message = message[:LONGEST_MESSAGE].rstrip() + "..."
    return message or reason or "no reason given"


def _message_in(value: Any) -> str:
    """Return the message in a decoded refusal; each service wraps it differently."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        for name in ("message", "detail", "faultstring", "title"):
            if isinstance(value.get(name), str) and value[name].strip():
                return str(value[name])
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            message = _message_in(inner)
            if message:
                return message
    return ""


def _secrets_in(body: Any) -> set[str]:
    """Return the secret values in a request's body."""
    secrets: set[str] = set()
    if isinstance(body, dict):
        for name, value in body.items():
            if name in SECRET_FIELDS and isinstance(value, str):
                secrets.add(value)
            else:
                secrets |= _secrets_in(value)
    elif isinstance(body, list):
        for value in body:
            secrets |= _secrets_in(value)
    return secrets


def _hide(message: str, secrets: set[str]) -> str:
    # The longest first: one secret may be part of another.
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        message = message.replace(secret, "[hidden]")
    return message


def _versioned(url: str, version: str) -> str:
    """Return a service's URL with its version, if any, replaced by this one."""
    parts = urlsplit(url)
    path = re.sub(r"/v\d+(\.\d+)?(/.*)?$", "", parts.path.rstrip("/"))
    return urlunsplit((parts.scheme, parts.netloc, path + version, "", ""))


def _read_token(answer: _Answer, asked_at: float) -> _Token:
    described = json.loads(answer.body)["token"]
    token_id = answer.headers["X-Subject-Token"]
    if not token_id:
        raise ValueError("no X-Subject-Token header")
    # A lifetime, not a moment: the two machines' clocks need not agree.
    issued = datetime.fromisoformat(described["issued_at"])
    lifetime = (datetime.fromisoformat(described["expires_at"]) - issued).total_seconds()
    return _Token(
        id=token_id,
        renew_at=asked_at + lifetime - min(EXPIRY_MARGIN, lifetime / 2),
        project_id=described.get("project", {}).get("id", ""),
        user_id=described["user"]["id"],
        catalog=described.get("catalog", []),
    )


def _has_news(connection: http.client.HTTPConnection) -> bool:
    """Say whether an idle connection has something to read: only its end can be."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _transact(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | _FileBody | None,
) -> _Answer:
    data = body.blocks() if isinstance(body, _FileBody) else body
    broken = False
    try:
        connection.request(method, target, data, dict(headers))
    except (BrokenPipeError, ConnectionResetError):
        # A server may refuse a long body before reading all of it. Its
        # answer says more than the broken pipe, if it is still to be had.
        if connection.sock is None:
            raise
        broken = True
    with connection.getresponse() as response:
        answer = _Answer(response.status, response.reason, response.headers, response.read())
    if broken:
        connection.close()
    return answer


def _failure_reason(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came within {timeout:g} s"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return f"the answer is not HTTP ({type(error).__name__})"
