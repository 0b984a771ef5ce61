"""Each command against a file of what FreeBSD prints.

A file in fidelity/ is run from top to bottom on a fresh host. ``# `` lines are
comments with the source of what follows. ``$ COMMAND`` is run by sh(1); then
come the expected lines: ``1 TEXT`` of standard output, ``2 TEXT`` of standard
error, ``1~ REGEX`` and ``2~ REGEX`` where the text varies; ``= N`` is the exit
status and ends the block. ``@ ARGUMENTS`` as the first line are arguments for
``freebsd-sim start``, as in ``@ --release 14.3``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FILES = sorted(Path(__file__).parent.glob("fidelity/*.txt"))


@dataclass
class Block:
    """A command and what it is to print."""

    line: int
    command: str
    expected: dict[str, list[tuple[bool, str]]] = field(default_factory=lambda: {"1": [], "2": []})
    status: int | None = None


def read_blocks(text: str) -> tuple[list[str], list[Block]]:
    """Return the start arguments and the blocks of a file; raises ValueError for a line that is none of them."""
    arguments: list[str] = []
    blocks: list[Block] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("@ "):
            arguments = line[2:].split()
        elif line.startswith("$ "):
            blocks.append(Block(number, line[2:]))
        elif line.startswith("= "):
            blocks[-1].status = int(line[2:])
        elif match := re.fullmatch(r"([12])(~?)(?: (.*))?", line):
            blocks[-1].expected[match[1]].append((bool(match[2]), match[3] or ""))
        elif line and not line.startswith("#"):
            raise ValueError(f"line {number}: {line}")
    return arguments, blocks


def differences(block: Block, status: int, stdout: str, stderr: str) -> list[str]:
    """Return what a command printed otherwise than the file says."""
    found = []
    for channel, text in (("1", stdout), ("2", stderr)):
        lines = text.splitlines()
        expected = block.expected[channel]
        same = len(lines) == len(expected) and all(
            re.fullmatch(wanted, line) if regex else wanted == line
            for (regex, wanted), line in zip(expected, lines, strict=True)
        )
        if not same:
            wanted_text = "\n".join(f"    {wanted}" for _, wanted in expected)
            found.append(f"{channel}: expected\n{wanted_text}\n  but was\n" + "\n".join(f"    {x}" for x in lines))
    if block.status != status:
        found.append(f"exit status {status}, not {block.status}")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_commands_answer_as_freebsd_does(file: Path, new_host: Callable[..., Any]) -> None:
    arguments, blocks = read_blocks(file.read_text())
    run = new_host("fidelity", *arguments)
    failed = []
    for block in blocks:
        done = run(block.command)
        for text in differences(block, done.returncode, done.stdout, done.stderr):
            failed.append(f"{file.name}:{block.line}: $ {block.command}\n  {text}")
    assert not failed, "\n".join(failed)


def test_a_difference_is_seen() -> None:
    _, (block,) = read_blocks("# x(1)\n$ x\n1 one\n2~ t.o\n= 1\n")
    assert differences(block, 1, "one\n", "two\n") == []
    assert len(differences(block, 0, "one\n", "two\n")) == 1
    assert len(differences(block, 0, "", "to\n")) == 3
    assert len(differences(block, 1, "one\nmore\n", "two\n")) == 1
