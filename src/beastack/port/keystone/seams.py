"""Installs the seams of keystone's parent, alike on every kind of host; imported first in it."""

from __future__ import annotations

from beastack.port.seams import INSTALLED
from beastack.seams.install import install

install(INSTALLED["freebsd"]["keystone"])
