"""A browser for the tests: Chromium without a screen in a simulated host's network (see ``browser_client``)."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plugged import SimulatedHost

PROGRAM = Path(__file__).with_name("browser_client.py")
PACKAGES = ("chromium", "chromium-driver")
#: The key Enter in WebDriver's actions (W3C WebDriver, 17.4.2).
ENTER = "\ue007"


@dataclass
class Browser:
    """One window of a browser."""

    process: subprocess.Popen[str]

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"method": method, "path": path, "body": body}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer, f"{method} {path}: {answer['error']}"
        return answer["value"]

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._ask("POST", "/url", {"url": url})

    def run(self, script: str) -> Any:
        """Run a function's body of JavaScript in the page and return what it returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return str(self.run(f"return document.querySelector({json.dumps(selector)}).innerText"))

    def click(self, selector: str) -> None:
        """Click on an element."""
        element = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        self._ask("POST", f"/element/{next(iter(element.values()))}/click")

    def type(self, text: str) -> None:
        """Press and release the key of each character."""
        keys = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})

    def screenshot(self) -> bytes:
        """Return a picture of the window, as PNG."""
        return base64.b64decode(self._ask("GET", "/screenshot"))


@contextlib.contextmanager
def open_browser(host: SimulatedHost) -> Iterator[Browser]:
    """Open a browser in a host's network for as long as the block lasts."""
    process = host.start_outside(None, sys.executable, str(PROGRAM), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Browser(process)
    finally:
        # It ends with its input, and takes the browser along.
        process.communicate(timeout=60)
