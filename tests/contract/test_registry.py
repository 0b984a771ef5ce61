"""Every seam fits this release, and nothing is imported for it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from beastack.port.seams import ALL, INSTALLED
from beastack.seams.install import check, install
from beastack.seams.registry import Seam, check_installed

Apart = Callable[[Callable[[], None]], None]
PACKAGES = next(Path(sys.prefix).glob("lib/python3.*/site-packages"))


@pytest.mark.parametrize("seam", ALL, ids=lambda seam: seam.id)
def test_it_fits_what_is_installed(seam: Seam) -> None:
    assert check_installed(seam, PACKAGES)


@pytest.mark.parametrize("seam", ALL, ids=lambda seam: seam.id)
def test_it_fits_what_is_imported(seam: Seam, apart: Apart) -> None:
    apart(lambda: check(seam, importlib.import_module(seam.module)))


@pytest.mark.parametrize(
    "name",
    [f"beastack.port.{part}_seams" for part in ("nova.linux", "nova.freebsd", "neutron.freebsd", "oslo.freebsd")],
)
def test_installing_imports_nothing_of_upstream(name: str, apart: Apart) -> None:
    def body() -> None:
        before = set(sys.modules)
        importlib.import_module(name)
        upstream = {"nova", "neutron", "oslo_messaging", "oslo_privsep", "eventlet", "psutil"}
        assert not upstream & {module.partition(".")[0] for module in set(sys.modules) - before}

    apart(body)


@pytest.mark.parametrize("host", INSTALLED)
def test_a_changed_body_is_refused_when_it_is_imported(host: str, apart: Apart) -> None:
    from dataclasses import replace

    from beastack.seams.registry import SeamError

    seam = next(seam for seams in INSTALLED[host].values() for seam in seams)
    wrong = replace(seam, hashes={key: " ".join("0" * 16 for _ in text.split()) for key, text in seam.hashes.items()})

    def body() -> None:
        install([wrong], ())
        with pytest.raises(SeamError) as caught:
            importlib.import_module(seam.module)
        text = str(caught.value)
        assert text.startswith(f"seam {seam.id}: {seam.module}:") and seam.distribution in text
        assert seam.module.replace(".", "/") in text

    apart(body)
