"""What bringing a site from one release to the next relies on: run on both, so one number for both is a promise.

Where it fails on one, a cloud of several hosts needs nova's ``[upgrade_levels] compute`` while some of its hosts are
of the release before.
"""

from __future__ import annotations

from collections.abc import Callable

Apart = Callable[[Callable[[], None]], None]


def test_the_releases_speak_the_same_version_with_nova_compute(apart: Apart) -> None:
    def body() -> None:
        from nova.objects import service

        assert service.SERVICE_VERSION_HISTORY[service.SERVICE_VERSION]["compute_rpc"] == "6.5"

    apart(body)


def test_nova_compute_of_the_release_before_is_still_taken(apart: Apart) -> None:
    def body() -> None:
        from nova.objects import service

        # 72 is 2026.1's; nova's services refuse to start beside older ones than this.
        assert service.SERVICE_VERSION_ALIASES[service.OLDEST_SUPPORTED_SERVICE_VERSION] <= 72

    apart(body)
