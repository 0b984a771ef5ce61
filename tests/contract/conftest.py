"""Contract tests: upstream's own code run through each seam, on what says that it is FreeBSD.

They run with the interpreter of an environment that holds one release
(``beastack test`` runs them for every supported one). Each test's body runs in
a process of its own: what it imports, and what it makes of its system, is gone
with it.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

# Imported once for all the children: none of it has a seam, or asks for the system's name.
import amqp  # noqa: F401
import kombu  # noqa: F401
import lxml.etree  # noqa: F401
import oslo_config.cfg  # noqa: F401
import oslo_log.log  # noqa: F401
import oslo_utils.netutils  # noqa: F401
import pytest
import sqlalchemy.orm  # noqa: F401

from beastack.port.seams import ALL
from beastack.seams.install import install
from freebsd import hide_proc, say_freebsd

Body = Callable[[], None]


def run_apart(body: Body) -> None:
    """Run a function in a child process.

    :raises AssertionError: it raised; the text is its traceback
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            body()
        except BaseException:
            os.write(write, traceback.format_exc(limit=-12).encode()[-60_000:])
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        said = stream.read()
    status = os.waitpid(pid, 0)[1]
    assert not said, said
    assert status == 0


@pytest.fixture
def apart() -> Callable[[Body], None]:
    """Run a function in a process of its own, as it is."""
    return run_apart


@pytest.fixture
def on_freebsd() -> Callable[..., None]:
    """Run a function in a process that says it is FreeBSD's, with these seams and no other."""

    def run(body: Body, *ids: str) -> None:
        def prepared() -> None:
            say_freebsd()
            hide_proc()
            install([seam for seam in ALL if seam.id in ids], ())
            body()

        assert set(ids) <= {seam.id for seam in ALL}
        run_apart(prepared)

    return run
