"""Installs the seams of nova's parent on hosts of kind linux; imported first in it."""

from __future__ import annotations

from beastack.port.seams import INSTALLED
from beastack.seams.install import install

install(INSTALLED["linux"]["nova"])
