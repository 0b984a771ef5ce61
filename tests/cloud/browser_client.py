"""Drives Chromium without a screen from where a cloud's pages can be reached: the network of a simulated host.

Linux, standard library, root. Each line of standard input is a command of the
W3C WebDriver protocol as JSON (``method``, ``path`` below the session,
``body``), and each line of output chromedriver's answer (its ``value``, or
``error``). Browser and profile are gone when the input ends.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

LIMIT = 120  # seconds for one command
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1200,900",
)  # fmt: skip


@contextlib.contextmanager
def chromedriver() -> Iterator[str]:
    """Run chromedriver on a port of its own choice for as long as the block lasts, and yield its address.

    :raises OSError: it does not start
    """
    process = subprocess.Popen(
        ["chromedriver", "--port=0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            started = re.search(r"started successfully on port (\d+)", line)
            if started:
                yield f"http://127.0.0.1:{started[1]}"
                return
        raise OSError(f"chromedriver does not start: {''.join(said)}")
    finally:
        process.terminate()
        process.wait()


def command(method: str, url: str, body: Any) -> dict[str, Any]:
    """Give one command and return the answer: ``value``, or ``error``."""
    data = None if method in ("GET", "DELETE") else json.dumps(body or {}).encode()
    asked = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=LIMIT) as answer:
            return {"value": json.load(answer)["value"]}
    except urllib.error.HTTPError as error:
        return {"error": json.load(error)["value"]["message"]}


@contextlib.contextmanager
def session(driver: str, profile: str) -> Iterator[str]:
    """Open a browser with an empty profile for as long as the block lasts, and yield its session's address.

    :raises OSError: it does not start
    """
    options = {"binary": "/usr/bin/chromium", "args": [*ARGUMENTS, f"--user-data-dir={profile}"]}
    wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
    made = command("POST", f"{driver}/session", wanted)
    if "error" in made:
        raise OSError(f"Chromium does not start: {made['error']}")
    address = f"{driver}/session/{made['value']['sessionId']}"
    try:
        yield address
    finally:
        command("DELETE", address, None)


def main() -> None:
    """Pass commands on until there are no more."""
    with (
        tempfile.TemporaryDirectory(prefix="beastack-browser-", ignore_cleanup_errors=True) as profile,
        chromedriver() as driver,
        session(driver, profile) as address,
    ):
        for line in sys.stdin:
            asked = json.loads(line)
            print(json.dumps(command(asked["method"], address + asked["path"], asked.get("body"))), flush=True)


if __name__ == "__main__":
    main()
