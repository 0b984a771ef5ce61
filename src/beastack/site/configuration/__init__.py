"""Generated service configuration: pure functions from the site to file texts.

Every service reads a directory of its own, so that each holds only what that
service needs (nova-compute, for one, is never told a database password).
Option names and defaults are upstream's; a comment says why one is set.
"""

from beastack.site.configuration.files import FILES, render_files, render_service
from beastack.site.configuration.neutron import NEUTRON_AGENTS, bridge_mappings, state_directory
from beastack.site.configuration.shared import PIPELINE, Sections, merge, render
from beastack.site.configuration.site import DATABASES, Facts, Site

__all__ = [
    "DATABASES",
    "FILES",
    "NEUTRON_AGENTS",
    "PIPELINE",
    "Facts",
    "Sections",
    "Site",
    "bridge_mappings",
    "merge",
    "render",
    "render_files",
    "render_service",
    "state_directory",
]
