"""Installs the seams of neutron's parent on hosts of kind freebsd; imported first in it."""

from __future__ import annotations

from beastack.port.seams import INSTALLED
from beastack.seams.install import install

install(INSTALLED["freebsd"]["neutron"])
