"""Tempest's feature flags for compute: what the cloud's guests can do.

Tempest has no way to find that out; it takes for granted what it is told. So
a flag is only set to what is so: from the kinds of hypervisors, their traits,
the catalogue and the number of hosts, as far as the APIs tell.
"""

from __future__ import annotations

from beastack.cli.tempest.facts import Facts

#: What a kind of hypervisor cannot do. bhyve neither stops a guest and goes on later nor saves its memory, and
#: a guest's cards are those that it was started with (docs/feature-matrix.md).
LACKING = {"bhyve": frozenset(("pause", "suspend", "interface_attach"))}

#: Kinds whose hosts send each other guests' disks; hosts of kind linux share neither keys nor storage.
MOVING = frozenset(("bhyve",))

#: What guests of every kind have.
COMMON = frozenset((
    "pause", "suspend", "interface_attach", "shelve", "snapshot", "rescue", "console_output", "vnc_console",
    "serial_console", "config_drive", "metadata_service", "disk_config", "hostname_fqdn_sanitization",
))  # fmt: skip


def compute_features(facts: Facts) -> dict[str, object]:
    """Return the section compute-feature-enabled: a feature is there if every host has it."""
    lacking = frozenset[str]().union(*(LACKING.get(kind, frozenset()) for kind in facts.hypervisors))
    several = facts.hosts > 1
    moves = several and facts.hypervisors <= MOVING
    volumes = has_volumes(facts)
    return {
        **{name: name not in lacking for name in sorted(COMMON)},
        "spice_console": False,
        # The guest has no agent that could set a password.
        "change_password": False,
        # Needs image properties that the first image does not have.
        "stable_rescue": False,
        # One host resizes where the instance is; of several, nova takes another.
        "resize": moves or not several,
        "cold_migration": moves,
        "shelve_migrate": moves,
        "live_migration": False,
        "can_migrate_between_any_hosts": several,
        "personality": False,
        "ide_bus": "COMPUTE_STORAGE_BUS_IDE" in facts.traits,
        "attach_encrypted_volume": False,
        "swap_volume": False,
        "volume_multiattach": volumes and "COMPUTE_VOLUME_MULTI_ATTACH" in facts.traits,
        "unified_limits": False,
        "nova_policy_roles": "admin,manager,member,reader,service",
    }


def has_volumes(facts: Facts) -> bool:
    """Return whether there is a volume service, under either of the types it has had."""
    return bool({"block-storage", "volumev3"} & facts.services)
