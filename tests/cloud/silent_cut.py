"""Cuts a connection without a word, as a broker's power cut does, and prints whether it is noticed.

Run inside a FreeBSD host by test_freebsd_control.py. The other end is in a
vnet jail behind an epair that goes down: no packet answers any more, and no
packet says so. The limit on the socket is set by the code that nova runs.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import types

from oslo_messaging._drivers import impl_rabbit

import beastack.port.nova.freebsd_seams  # noqa: F401 - installs what follows

JAIL = "btcut"
NEAR, FAR, PORT = "192.0.2.1", "192.0.2.2", 5672
LIMIT = 3  # seconds, as the heartbeat's
PATIENCE = 60  # seconds; without a limit of its own TCP takes many minutes

LISTENER = f"""
import socket, time
server = socket.create_server(("{FAR}", {PORT}))
print("listening", flush=True)
connection, _ = server.accept()
time.sleep(600)
"""


class Connection:
    """What upstream's method looks at."""

    heartbeat_timeout_threshold = LIMIT

    def __init__(self, stream: socket.socket) -> None:
        self.channel = types.SimpleNamespace(connection=types.SimpleNamespace(sock=stream))

    def _heartbeat_supported_and_enabled(self) -> bool:
        return True


def run(*argv: str) -> str:
    """Run a command and return what it prints."""
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def is_noticed(far: str) -> str:
    """Connect, cut, and return what became of the connection."""
    listener = subprocess.Popen(["jexec", JAIL, sys.executable, "-c", LISTENER], stdout=subprocess.PIPE)
    assert listener.stdout is not None
    listener.stdout.readline()
    try:
        stream = socket.create_connection((FAR, PORT), timeout=20)
        impl_rabbit.Connection.set_transport_socket_timeout(Connection(stream), LIMIT)
        stream.settimeout(PATIENCE)
        stream.sendall(b"answered")
        run("ifconfig", "-j", JAIL, far, "down")
        stream.sendall(b"never answered")
        try:
            stream.recv(1)
        except TimeoutError as error:
            # Python's own patience ended, or the kernel's: only the kernel's has a number.
            return "never noticed" if error.errno is None else "noticed"
        except OSError:
            return "noticed"
        return "closed"
    finally:
        listener.kill()
        listener.wait()


def main() -> None:
    """Make the jail and the epair, try, and remove them."""
    run("jail", "-c", f"name={JAIL}", "vnet", "persist")
    near = run("ifconfig", "epair", "create")
    far = near[:-1] + "b"
    try:
        run("ifconfig", near, "inet", f"{NEAR}/30", "up")
        run("ifconfig", far, "vnet", JAIL)
        run("ifconfig", "-j", JAIL, far, "inet", f"{FAR}/30", "up")
        print(is_noticed(far))
    finally:
        subprocess.run(["ifconfig", near, "destroy"], check=False)
        subprocess.run(["jail", "-R", JAIL], check=False)


if __name__ == "__main__":
    main()
