"""The commands of the guides, taken from the pages as they stand and run in order inside a simulated FreeBSD host.

Every fenced block of shell commands says by its second word what it is: ``run`` is run by the tests, ``slow`` by hand
only, ``real`` needs a real machine. By hand, on a cloud that is up: ``python tests/cloud/guide.py ROOT PAGE...``.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
KINDS = ("run", "slow", "real")
SEARCH_PATH = "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
#: Where the pages say the state directory is.
STATE_DIRECTORY = "/var/db/beastack"
#: How they control the site by rc(8).
SERVICE = "service beastack "


@dataclass(frozen=True)
class Block:
    """Commands of a page: from which line on, of which kind."""

    page: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def read_blocks(page: Path) -> list[Block]:
    """Return all blocks of shell commands of a page."""
    found = []
    for match in re.finditer(r"^```sh(.*)\n((?:.*\n)*?)```$", page.read_text(), re.MULTILINE):
        line = page.read_text().count("\n", 0, match.start()) + 2
        found.append(Block(page, line, match[1].strip(), match[2]))
    return found


@dataclass(frozen=True)
class Shell:
    """A root shell inside the simulated host of a site, as a page's reader has one."""

    root: Path
    host: str
    state: Path

    def run(self, blocks: Sequence[Block]) -> Iterator[tuple[Block, float, subprocess.CompletedProcess[str]]]:
        """Run blocks one after the other, each in a shell of its own; variables go from one to the next."""
        self._place_commands()
        variables = self.root / "cache" / "guide" / "variables"
        variables.write_text("")
        for block in blocks:
            began = time.monotonic()
            # Neither the site nor its rc script is at the default place.
            text = block.text.replace(STATE_DIRECTORY, str(self.root)).replace(SERVICE, f"service {self.host} ")
            # The last block of all takes the site away, and that file with it.
            keep = f"[ ! -f {variables} ] || {{ set +u; echo \"S='$S' P='$P'\"; }} > {variables}"
            script = f". {variables}\nset -eu\n{text}\n{keep}\n"
            done = subprocess.run(
                [
                    str(PROJECT / "simulator" / "freebsd-sim"), "run", "--name", self.host, "--cwd", "/root",
                    "--env", f"PATH={self.root}/cache/guide:{SEARCH_PATH}", "--env", "HOME=/root",
                    "--", "sh", "-c", script,
                ],
                env={**os.environ, "FREEBSD_SIM_STATE": str(self.state)}, text=True, capture_output=True,
                stdin=subprocess.DEVNULL, timeout=1800,
            )  # fmt: skip
            yield block, time.monotonic() - began, done

    def _place_commands(self) -> None:
        """Make the commands that the pages call by their names: of this site, which is not at the default place."""
        directory = self.root / "cache" / "guide"
        directory.mkdir(parents=True, exist_ok=True)
        for name, command in {
            "beastack": f'{PROJECT}/beastack --root {self.root} "$@"',
            "openstack": f'env OS_CLIENT_CONFIG_FILE={self.root}/clouds.yaml {self.root}/venv/bin/openstack "$@"',
        }.items():
            (directory / name).write_text(f"#!/bin/sh\nexec {command}\n")
            (directory / name).chmod(0o755)


def main() -> int:
    """Run all blocks but the real ones, and say how each went."""
    from beastack.site.layout import Layout

    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("root", type=Path)
    arguments.add_argument("pages", nargs="+", type=Path)
    given = arguments.parse_args()
    shared = os.environ.get("FREEBSD_SIM_STATE")
    state = Path(shared) if shared else given.root.with_name(f"{given.root.name}-simulator")
    shell = Shell(given.root, Layout(given.root).prefix, state)
    failed = 0
    blocks = [block for page in given.pages for block in read_blocks(page) if block.kind != "real"]
    for block, seconds, done in shell.run(blocks):
        failed += done.returncode != 0
        print(f"{'ok    ' if done.returncode == 0 else 'FAILED'} {block} ({seconds:.0f} s)", flush=True)
        if done.returncode != 0:
            print(f"{block.text}{done.stdout[-2000:]}{done.stderr[-2000:]}", flush=True)
    print(f"{len(blocks)} blocks, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
