"""Intervals of nova's periodic tasks, which its code reads while it is imported: before any configuration is.

A preloaded parent imports that code; what nova.conf says afterwards comes too
late. Imported before it, this sets the defaults, in seconds.
"""

from __future__ import annotations

import nova.conf

INTERVALS = {
    ("DEFAULT", "sync_power_state_interval"): 60,
    ("DEFAULT", "running_deleted_instance_poll_interval"): 60,
    # A host that joined is given instances from then on.
    ("scheduler", "discover_hosts_in_cells_interval"): 30,
}

for (group, name), seconds in INTERVALS.items():
    nova.conf.CONF.set_default(name, seconds, None if group == "DEFAULT" else group)
