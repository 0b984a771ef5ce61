"""Shell scripts as FreeBSD's administrators write them, run unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = sorted(Path(__file__).parent.glob("scripts/*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_runs_and_cleans_up(script: Path, simulator: Any, new_host: Callable[..., Any]) -> None:
    new_host("scripts", "--share", str(script.parent))
    done = simulator.run("run", "--name", "scripts", "/bin/sh", str(script))
    assert done.returncode == 0 and done.stdout.endswith("clean\n"), done.stdout + done.stderr
