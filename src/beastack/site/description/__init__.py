"""The site's description: one optional TOML file, everything defaulted.

``load_description`` turns ``site.toml`` into frozen dataclasses, one for each
table. Each key is described once, beside its default, in the field's
metadata: what it means, its unit, what it accepts. Reading, checking, ``explain``
and the manual page all go by that.

Whatever is wrong in a file is reported at once, each problem as one line that
names file, line and key, and says what to do about it.
"""

from beastack.site.description.explaining import explain
from beastack.site.description.reading import DescriptionError, load_description
from beastack.site.description.tables import (
    DEFAULT_HOST_KIND,
    HOST_KINDS,
    HOST_ROLES,
    ROLES,
    Compute,
    Control,
    Database,
    Description,
    Hosts,
    Instance,
    Logs,
    Messaging,
    Migration,
    Network,
    Ports,
    Site,
)

__all__ = [
    "DEFAULT_HOST_KIND",
    "HOST_KINDS",
    "HOST_ROLES",
    "ROLES",
    "Compute",
    "Control",
    "Database",
    "Description",
    "DescriptionError",
    "Hosts",
    "Instance",
    "Logs",
    "Messaging",
    "Migration",
    "Network",
    "Ports",
    "Site",
    "explain",
    "load_description",
]
