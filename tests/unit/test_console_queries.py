"""What a terminal would answer is taken out of what a guest printed, and nothing else."""

from __future__ import annotations

import pytest

from beastack.console.queries import without_queries


@pytest.mark.parametrize(
    "query",
    [
        b"\x05", b"\x1bZ", b"\x1b[6n", b"\x1b[?6n", b"\x1b[5n", b"\x1b[c", b"\x1b[0c", b"\x1b[>c", b"\x1b[=0c",
        b"\x1b[>0q", b"\x1b[?2026$p", b"\x1b[4$p", b"\x1b[x", b"\x1b[18t", b"\x1b]11;?\x07", b"\x1b]4;1;?\x1b\\",
        b"\x1bP$qm\x1b\\", b"\x1bP+q544e\x1b\\", b"\x1b]52;c;?\x07", b"\x1b[1x",
    ],
)  # fmt: skip
def test_queries_go(query: bytes) -> None:
    assert without_queries(b"before " + query + b"/ # ") == b"before / # "


@pytest.mark.parametrize(
    "kept",
    [
        b"", b"/ # echo 42\r\n", "Größe: 3 %".encode(), b"\x1b[1;31mred\x1b[0m", b"\x1b[2J\x1b[H",
        b"\x1b[?25h\x1b[?1049l", b"\x1b]0;a title? yes\x07", b"\x1b]11;rgb:00/00/00\x07",
        b"\x1b[10;20H?", b"\xff\x00\x9b6n", b"\x1b[1 q", b"\x1b[8;24;80t", b"\x1b[22;0t",
        b"\x1b[5;1;1;2;2$x",
    ],
)  # fmt: skip
def test_the_rest_stays(kept: bytes) -> None:
    assert without_queries(kept) == kept
