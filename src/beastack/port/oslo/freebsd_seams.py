"""Installs the seams of privileged daemons on hosts of kind freebsd; imported first in their parents."""

from __future__ import annotations

from beastack.port.seams import INSTALLED
from beastack.seams.install import install

install(INSTALLED["freebsd"]["privileged"])
