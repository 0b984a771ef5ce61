"""Debian packages that the project's tests need."""

from __future__ import annotations

from collections.abc import Sequence

from beastack.freebsd.command import run
from beastack.site.host.linux import missing_packages


def install_packages(names: Sequence[str]) -> None:
    """Install those of the Debian packages that are not there; root only.

    :raises CommandError: one cannot be had
    """
    missing = missing_packages(names)
    if not missing:
        return
    print(f"beastack test: installing Debian's {', '.join(missing)}", flush=True)
    # Somebody else may be installing too.
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-q"]
    run([*apt, "update"], timeout=300)
    run([*apt, "install", "-y", "--no-install-recommends", *missing],
        timeout=900, env={"DEBIAN_FRONTEND": "noninteractive"})  # fmt: skip
