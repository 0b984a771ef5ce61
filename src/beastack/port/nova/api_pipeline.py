"""nova-api's pipelines: upstream's, from its own description, with a filter of ours before the application.

The site's description of them (api-paste.ini) names this as the whole, and where upstream's is, so that nothing of
that has to be copied.
"""

from __future__ import annotations

from typing import Any

from paste.deploy.loadwsgi import ConfigLoader  # type: ignore[import-not-found]

from beastack.port.nova.refusals import Refusals

#: What upstream's pipelines end in, whatever the API's version: behind authentication.
APPLICATION = "osapi_compute_app_v21"


class _Loader(ConfigLoader):
    """Upstream's description, with the filter around the application."""

    filtered = False

    def get_app(self, name: str | None = None, global_conf: Any = None) -> Any:
        made = super().get_app(name, global_conf)
        if name != APPLICATION:
            return made
        self.filtered = True
        return Refusals(made)


def make(loader: Any, global_conf: Any, upstream: str) -> Any:
    """Return the application that nova-api serves.

    :raises LookupError: the pipelines of upstream's description end in something else
    """
    own = _Loader(upstream)
    application = own.get_app("osapi_compute")
    if not own.filtered:
        raise LookupError(f"no pipeline in {upstream} ends in {APPLICATION}")
    return application
