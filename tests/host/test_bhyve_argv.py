"""The guests of the bhyve driver's golden files, as the host's own libvirt hands them to bhyve.

``tests/contract/golden/bhyve/NAME.xml`` is what the driver makes of a flavor
and an image (tests/contract/test_bhyve_driver.py), ``NAME.args`` what libvirt
11.3 makes of that. Other releases of libvirt arrange some words otherwise.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.freebsd import kld, service
from beastack.freebsd.command import CommandError, find_program, run
from conftest import eventually

GOLDEN = Path(__file__).parents[1] / "contract" / "golden" / "bhyve"
EXACT_FOR = "11.3."

#: Guests with what only a newer libvirt knows, and the first that does.
NEWER = {"two-lines": (11, 6), "kept-variables": (11, 4)}


def virsh(*arguments: str) -> str:
    """Run virsh(1) and return what it printed."""
    return run(["virsh", "-c", "bhyve:///system", "-q", *arguments], timeout=60).stdout.strip()


def read_version() -> str:
    """Return the version of libvirtd, empty if it does not answer."""
    try:
        found = re.search(r"Running against daemon: ([\d.]+)", virsh("version", "--daemon"))
    except CommandError:
        return ""
    return found[1] if found else ""


@pytest.fixture(scope="module")
def version() -> Iterator[str]:
    """libvirtd's version, started unless it runs."""
    if find_program("virsh") is None:
        pytest.skip("libvirt is not installed")
    for module in ("vmm", "nmdm"):
        kld.load(module)
    was_running = bool(read_version())
    if not was_running:
        service.start("libvirtd", one=True)
    yield str(eventually(read_version, "libvirtd to answer", 30))
    if not was_running:
        service.stop("libvirtd")


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.xml")), ids=lambda file: file.stem)
def test_libvirt_starts_bhyve_so(file: Path, version: str) -> None:
    numbers = tuple(int(part) for part in version.split(".")[:2])
    if numbers < NEWER.get(file.stem, (0, 0)):
        pytest.skip(f"libvirt {version} is too old for this guest")
    text = virsh("domxml-to-native", "bhyve-argv", str(file))
    words = shlex.split(text)
    assert words[0].endswith("/bhyve") and words[-1] == "instance-0000002a"
    uuid = words[words.index("-U") + 1]
    assert f"com1,/dev/nmdm{uuid}A" in words
    assert f"system.serial_number={uuid}" in words
    # A slot that is told something has a device.
    slots = {word.partition(":")[0] for word in words}
    assert all(match[1] in slots for word in words if (match := re.match(r"pci\.0\.(\d+)\.0\.", word)))
    if not version.startswith(EXACT_FOR) or file.stem in NEWER:
        return
    golden = file.with_suffix(".args")
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(text + "\n")
    assert text == golden.read_text().strip()
