"""A privilege separation daemon, forked from a preloaded parent instead of executed.

Upstream's helper (oslo_privsep.daemon.helper_main) is a new interpreter that
imports a whole service to run one function. This is the same daemon with
the imports, the configuration and the logging already paid for by the
parent that it is forked from.

What it serves is closed further than upstream's: a name outside the
context's prefix is refused before anything is imported for it, and one
message cannot claim more elements than its sender has to send.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging
from oslo_privsep import comm, daemon, priv_context
from oslo_utils import importutils

from beastack.supervisor.child import CONNECTION

#: Elements of one list or mapping in a message; upstream's own limit (bytes) lets a few bytes reserve a gigabyte.
ELEMENTS = 1 << 16
MESSAGE_LIMIT = 100 << 20  # bytes; upstream's

#: The contexts by name, as ``prepare`` found them.
_contexts: dict[str, priv_context.PrivContext] = {}


def prepare(config: str, digest: str, *names: str) -> None:
    """Read the configuration file and find the contexts ``names``.

    Called once, in the parent that the daemons are forked from. The digest
    of the file's text is not read: a parent is made anew when it changes.

    :raises TypeError: a name is not that of a privilege separation context
    """
    for name in names:
        context = importutils.import_class(name)
        if not isinstance(context, priv_context.PrivContext):
            raise TypeError(f"{name} is not a privilege separation context")
        _contexts[name] = context
    logging.register_options(cfg.CONF)
    cfg.CONF(args=[f"--config-file={config}"], project="privsep", default_config_files=[])
    logging.setup(cfg.CONF, "privsep", fix_eventlet=False)


def serve() -> None:
    """Serve the context ``sys.argv[0]`` on the connection that the supervisor handed down.

    :raises KeyError: the parent has not prepared that context
    """
    context = _contexts[sys.argv[0]]
    channel = comm.ServerChannel(socket.socket(fileno=CONNECTION))
    channel.reader_iter = _Reader(channel.writer.writesock)
    daemon.replace_logging(daemon.PrivsepLogHandler(channel, processName=str(context)))
    Daemon(channel, context=context).run()


class Daemon(daemon.Daemon):
    """Upstream's daemon, which imports nothing from outside its context's prefix."""

    def _process_cmd(self, msgid: str, cmd: comm.Message, *args: Any) -> tuple[Any, ...]:
        if cmd == comm.Message.CALL and not self._is_inside(args):
            # As upstream says it of a function that is not an entry point.
            text = f"Invalid privsep function: {args[0] if args else None!r:.200} not exported"
            return (comm.Message.ERR.value, "builtins.NameError", (text,), "")
        return super()._process_cmd(msgid, cmd, *args)

    def _is_inside(self, call: tuple[Any, ...]) -> bool:
        prefix = self.context.prefix.rstrip(".") + "."
        return len(call) == 3 and isinstance(call[0], str) and call[0].startswith(prefix)


class _Reader(comm.Deserializer):
    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self.unpacker = comm.msgpack.Unpacker(
            use_list=False, raw=False, strict_map_key=False, unicode_errors="surrogateescape",
            max_buffer_size=MESSAGE_LIMIT, max_array_len=ELEMENTS, max_map_len=ELEMENTS,
        )  # fmt: skip
