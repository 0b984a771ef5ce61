"""K1: two requests at once through upstream's middleware, each of which has to keep its own token."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import webob

OnFreeBSD = Callable[..., None]


def configure() -> None:
    """Let keystone have its options, with their defaults."""
    import keystone.conf

    keystone.conf.configure()
    keystone.conf.CONF([], project="keystone", default_config_files=[])


def make_token(user: str) -> Any:
    """Return what keystone's provider says of a user's token, as far as the middleware asks."""
    return types.SimpleNamespace(
        user_id=user, methods=["password"], domain_scoped=False, oauth_scoped=False, trust_scoped=False,
        is_federated=False,
    )  # fmt: skip


def render(token: Any) -> dict[str, Any]:
    """Return the token as keystone shows it to its clients."""
    user = {"id": token.user_id, "name": token.user_id, "domain": {"id": "default", "name": "Default"}}
    return {"token": {"methods": token.methods, "user": user, "issued_at": "2026-01-01T00:00:00.000000Z",
                      "expires_at": "2999-01-01T00:00:00.000000Z"}}  # fmt: skip


def ask_at_once(users: list[str]) -> dict[str, str]:
    """Send a request of each user, all of them under way before one goes on; return whose token each was given."""
    from keystone.common import authorization
    from keystone.server.flask.request_processing.middleware import auth_context

    configure()
    auth_context.render_token.render_token_response_from_model = render
    all_there = threading.Barrier(len(users), timeout=30)

    class Held(auth_context.AuthContextMiddleware):
        token_provider_api = types.SimpleNamespace(validate_token=lambda token, **_: make_token(token))

        def _validate_token(self, *arguments: Any, **named: Any) -> None:
            super()._validate_token(*arguments, **named)
            all_there.wait()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ[authorization.AUTH_CONTEXT_ENV]["token"].user_id.encode()]

    served = Held(application)

    def ask(user: str) -> str:
        request = webob.Request.blank("/v3/users", headers={"X-Auth-Token": user})
        return str(request.get_response(served).text)

    with ThreadPoolExecutor(len(users)) as pool:
        return dict(zip(users, pool.map(ask, users), strict=True))


USERS = ["admin", "anne", "berta"]


def test_without_it_a_request_is_taken_for_anothers(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        assert ask_at_once(USERS) != {user: user for user in USERS}

    on_freebsd(body)


def test_each_request_has_its_own_token(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        assert ask_at_once(USERS) == {user: user for user in USERS}

    on_freebsd(body, "K1")


def test_the_policy_is_known_before_the_first_request(apart: Callable[[Callable[[], None]], None]) -> None:
    def body() -> None:
        from keystone.common.rbac_enforcer.enforcer import RBACEnforcer

        from beastack.port.keystone import policy

        configure()
        policy.load()
        assert "identity:list_users" in RBACEnforcer()._enforcer.rules

    apart(body)
