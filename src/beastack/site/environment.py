"""Virtual environments: made whole from a hash-locked list of packages, or made anew."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from beastack.freebsd.command import CommandError, run
from beastack.site.split import Split

REQUIREMENTS = Path(__file__).resolve().parents[3] / "requirements"
MARKER = "beastack-lock"


class EnvironmentFailed(Exception):
    """A virtual environment cannot be made; one line says why and what to do."""


def digest(*locks: Path) -> str:
    """Return a short hash of lock files and the interpreter's version."""
    text = b"".join(lock.read_bytes() for lock in locks) + sys.version.encode()
    return hashlib.sha256(text).hexdigest()[:16]


def is_made(venv: Path, *locks: Path, without: Split | None = None) -> bool:
    """Return whether the environment holds exactly what the lock files say, less what a split leaves out."""
    marker = venv / MARKER
    return marker.exists() and marker.read_text() == _mark(locks, without)


def _mark(locks: tuple[Path, ...], without: Split | None) -> str:
    return digest(*locks) + (f" without {without.digest()}" if without else "")


def make(
    venv: Path, locks: tuple[Path, ...], python: str, work: Path, progress: Callable[[str], None], *,
    without: Split | None = None,
) -> None:  # fmt: skip
    """Make a virtual environment with uv, or with pip where uv cannot be had.

    ``work`` keeps the installer and its cache.

    :param without: what is left to the system's packages; then nothing that has compiled parts is built
    :raises EnvironmentFailed: a package cannot be fetched or does not match its hash
    """
    shutil.rmtree(venv, ignore_errors=True)
    tools = work / "tools"
    progress("making a virtual environment")
    try:
        if not (tools / "bin" / "pip").exists():
            run([python, "-m", "venv", "--clear", str(tools)], timeout=120)
        run([python, "-m", "venv", "--without-pip", str(venv)], timeout=120)
    except CommandError as error:
        raise EnvironmentFailed(f"a virtual environment cannot be made: {error}") from error
    requirements = locks if without is None else _rest_of(locks, without, work)
    lines = [line for lock in requirements for line in lock.read_text().splitlines()]
    count = sum(1 for line in lines if "==" in line and line[0] not in " #")
    progress(f"installing {count} Python packages")
    variables = {
        "UV_CACHE_DIR": str(work / "cache" / "uv"), "UV_NO_CONFIG": "1", "NO_COLOR": "1",
        # The system's certificates, so that a site's own registry or proxy is trusted as elsewhere.
        "UV_SYSTEM_CERTS": "1",
    }  # fmt: skip
    interpreter = f"--python={venv}/bin/python"
    if _have_uv(tools):
        argv = [str(tools / "bin" / "uv"), "pip", "install", "--no-progress", interpreter]
    else:
        progress("uv cannot be had: installing with pip, which takes longer")
        argv = [str(tools / "bin" / "pip"), interpreter, "install", "--quiet", "--no-compile"]
    argv.append("--require-hashes")
    if without is not None:
        # The lists are complete; what they no longer name is elsewhere.
        argv += ["--no-deps", "--only-binary=:all:", *(f"--no-binary={name}" for name in without.pure_sources)]
    for lock in requirements:
        argv += ["--requirement", str(lock)]
    try:
        try:
            run(argv, timeout=1800, env=variables)
        except CommandError:
            progress("trying again: not every package could be fetched")
            run(argv, timeout=1800, env=variables)
    except CommandError as error:
        why = next((line.strip() for line in error.stderr.splitlines() if _tells(line)), str(error))
        raise EnvironmentFailed(
            f"the Python packages cannot be installed: {why} (check the network, then try again)"
        ) from error
    (venv / MARKER).write_text(_mark(locks, without))


def _rest_of(locks: tuple[Path, ...], split: Split, work: Path) -> tuple[Path, ...]:
    """Write what is left of lock files below ``work``, and return where."""
    (work / "cache").mkdir(parents=True, exist_ok=True)
    rest = []
    for lock in locks:
        rest.append(work / "cache" / lock.name)
        rest[-1].write_text(split.rest_of(lock.read_text()))
    return tuple(rest)


def _have_uv(tools: Path) -> bool:
    if (tools / "bin" / "uv").exists():
        return True
    try:
        run([str(tools / "bin" / "pip"), "install", "--quiet", "--require-hashes", "--disable-pip-version-check",
             # To build it takes longer than it saves.
             "--only-binary=:all:", "--requirement", str(REQUIREMENTS / "tools.txt")], timeout=300)  # fmt: skip
    except CommandError:
        return False
    return (tools / "bin" / "uv").exists()


def _tells(line: str) -> bool:
    """Return whether a line of an installer's errors names the cause rather than the circumstance."""
    text = line.strip().lower()
    return any(word in text for word in ("failed to", "no solution", "hash mismatch", "could not find", "error: "))
