"""Tempest's feature flags: what the cloud's guests can do, and nothing else."""

from __future__ import annotations

import dataclasses

from beastack.cli.tempest.features import compute_features
from tempest_facts import FACTS

BHYVE = dataclasses.replace(FACTS, hypervisors=frozenset(("bhyve",)))


def names(features: dict[str, object]) -> set[str]:
    """Return the flags that are set."""
    return {name for name, value in features.items() if value is True}


def test_bhyve_lacks_what_it_cannot_do() -> None:
    lacking = names(compute_features(FACTS)) - names(compute_features(BHYVE))
    assert lacking == {"pause", "suspend", "interface_attach"}


def test_bhyve_has_the_rest() -> None:
    there = names(compute_features(BHYVE))
    assert {"resize", "rescue", "shelve", "snapshot", "console_output", "vnc_console", "serial_console"} <= there


def test_a_feature_is_there_only_if_every_kind_of_host_has_it() -> None:
    mixed = dataclasses.replace(FACTS, hypervisors=frozenset(("bhyve", "qemu")))
    assert compute_features(mixed)["pause"] is False


def test_one_host_declares_nothing_that_takes_two() -> None:
    features = compute_features(FACTS)
    assert {features[name] for name in ("cold_migration", "live_migration", "shelve_migrate")} == {False}
    assert features["can_migrate_between_any_hosts"] is False


def test_several_hosts_resize_only_if_they_send_each_other_disks() -> None:
    assert compute_features(FACTS)["resize"] is True
    linux, freebsd = (compute_features(dataclasses.replace(facts, hosts=2)) for facts in (FACTS, BHYVE))
    for name in ("resize", "cold_migration", "shelve_migrate"):
        assert (linux[name], freebsd[name]) == (False, True)
    mixed = dataclasses.replace(FACTS, hosts=2, hypervisors=frozenset(("bhyve", "qemu")))
    assert compute_features(mixed)["cold_migration"] is False


def test_a_bus_that_guests_do_not_have_is_not_asked_for() -> None:
    assert compute_features(FACTS)["ide_bus"] is False
    old = dataclasses.replace(FACTS, traits=frozenset(("COMPUTE_STORAGE_BUS_IDE",)))
    assert compute_features(old)["ide_bus"] is True


def test_one_volume_for_two_instances_takes_volumes_and_hosts_that_can() -> None:
    able = dataclasses.replace(FACTS, traits=frozenset(("COMPUTE_VOLUME_MULTI_ATTACH",)))
    assert compute_features(able)["volume_multiattach"] is False
    volumes = dataclasses.replace(able, services=able.services | {"volumev3"})
    assert compute_features(volumes)["volume_multiattach"] is True
