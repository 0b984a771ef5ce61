"""All secrets of a site made anew, and put to use by ``up``.

``begin`` replaces the file of secrets. Every other place where one of them stands is made from that file by a step of
``up``: configuration, the database's users, Keystone's, Nova's table of cells. What cannot change under a running cloud
is done by ``prepare``, before the steps. A mark stands until ``up`` has come to its end: whoever is interrupted goes
on, by ``up`` or by rotating again.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from beastack.site import secrets, services
from beastack.site.configuration import Site
from beastack.site.layout import Layout
from beastack.site.wait import wait_until
from beastack.supervisor.client import Client

#: What keeps running: guests, their network and their consoles know no secret, nor does the database's own process.
KEPT_TIERS = (services.DATA, services.SWITCH, services.HYPERVISOR)
BROKER = ("rabbitmq", "epmd")
#: The second word of the mark, once ``prepare`` is done.
PREPARED = "prepared"


def begin(layout: Layout) -> bool:
    """Make new secrets; return False if an earlier rotation made them already and has not come to its end."""
    mark = _mark(layout)
    if is_pending(layout) and mark.read_text().split()[0] == _hash(layout.secrets.read_text()):
        return False
    # Those beside the site's own are what other hosts have certificates by: they stay as they are.
    known = secrets.load_or_make(layout.secrets)
    text = secrets.as_text({**known, **secrets.make()})
    # First what they will be known by: a mark that does not fit says that nothing was replaced yet.
    secrets.write(mark, _hash(text))
    secrets.write(layout.secrets, text)
    return True


def is_pending(layout: Layout) -> bool:
    """Return whether a rotation has begun that ``up`` has not brought to its end."""
    return _mark(layout).exists()


def prepare(site: Site, client: Client) -> None:
    """Stop who would go on with old secrets, and remove the keys that tokens are signed with: ``up`` makes new ones.

    Once in a rotation: what an interrupted ``up`` has made since is not undone.

    :raises SupervisorError: the supervisor refused
    :raises WaitTimeout: a service does not stop
    """
    mark = _mark(site.layout)
    if PREPARED in mark.read_text().split():
        return
    if client.running():
        running = client.services()
        names = [name for name, item in running.items() if item["tier"] not in KEPT_TIERS or name in BROKER]
        client.ask("stop", names=names)

        def stopped() -> tuple[bool, str]:
            left = [name for name, item in client.services().items() if name in names and item["pid"]]
            return not left, "still running: " + ", ".join(left)

        wait_until(stopped, what="services to stop", timeout=120)
    shutil.rmtree(site.layout.data("keystone") / "fernet-keys", ignore_errors=True)
    secrets.write(mark, f"{mark.read_text()} {PREPARED}")


def finish(layout: Layout) -> None:
    """Note that every place has the new secrets."""
    _mark(layout).unlink(missing_ok=True)


def _mark(layout: Layout) -> Path:
    return layout.root / "rotation"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
