"""Ask the supervisor for a privileged daemon; run by oslo.privsep as its helper command.

Usage: request.py PRIVILEGED_SOCKET [OPTION VALUE]... --privsep_context NAME --privsep_sock_path PATH

Upstream starts it, waits for its exit, then accepts the daemon's connection
on PATH (oslo_privsep/daemon.py, RootwrapClientChannel). That connection is
made here, with the rights of the service, and handed over: the supervisor
never opens a path that a service names. Other options are upstream's and of
no use here.

A service waits for this: it runs isolated and without site (``python -IS``)
and imports nothing that the interpreter has not built in or linked, which is
three quarters of its time; hence the C module below Python's ``socket``.
"""

import _socket
import sys

#: Seconds: a parent may have to import a project first.
PATIENCE = 240


def main() -> int:
    """Pass the request on; return 0 when the daemon has been started."""
    door, *rest = sys.argv[1:]
    options = dict(zip(rest[::2], rest[1::2], strict=True))
    name = options["--privsep_context"]
    if not all(part.isidentifier() for part in name.split(".")):
        sys.stderr.write(f"{name!r} is not the name of a context\n")
        return 1
    try:
        answer = ask(door, f'{{"op": "helper", "name": "{name}"}}\n'.encode(), options["--privsep_sock_path"])
    except OSError as error:
        sys.stderr.write(f"no privileged daemon can be asked for: {error}\n")
        return 1
    if answer == b'{"ok": true}\n':
        return 0
    sys.stderr.write(read_error(answer) + "\n")
    return 1


def ask(door: str, request: bytes, path: str) -> bytes:
    """Send a request together with a connection to the service's socket, and return the answer.

    :raises OSError: one of the two cannot be reached
    """
    service = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    service.connect(path)
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.connect(door)
    connection.settimeout(PATIENCE)
    descriptor = service.fileno().to_bytes(4, sys.byteorder)
    try:
        connection.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor)])
    except BrokenPipeError:
        pass  # the answer is there already
    answer = b""
    while not answer.endswith(b"\n") and (more := connection.recv(4096)):
        answer += more
    connection.close()
    service.close()
    return answer


def read_error(answer: bytes) -> str:
    """Return what the supervisor said against it."""
    import json  # only when there is something to be read

    if not answer.endswith(b"\n"):
        return "the supervisor ended while it was asked"
    return str(json.loads(answer).get("error", answer))


if __name__ == "__main__":
    sys.exit(main())
