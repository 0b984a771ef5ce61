"""A simulated FreeBSD host loses its power: rc(8) brings the cloud back with its instance. Root only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import eventually
from freebsd_guests import admin_api, first_guest, wait
from freebsd_pair import PairedSite

pytestmark = pytest.mark.cloud

#: Seconds for the whole cloud to come back without anybody asking.
LIMIT = 600


@pytest.fixture
def enabled(whole_site: PairedSite) -> Iterator[PairedSite]:
    """The shared cloud, started when its host boots; afterwards as it was, and reached from Linux again."""
    whole_site.run("enable")
    yield whole_site
    whole_site.run("disable")
    whole_site.up()


def test_the_cloud_is_back_after_a_power_cut(enabled: PairedSite) -> None:
    name, host = enabled.layout.prefix, enabled.host
    assert host.run("service", "-e") == f"/usr/local/etc/rc.d/{name}\n"
    assert "keystone" in host.run("service", name, "status")
    before = {service: item["pid"] for service, item in enabled.services().items()}
    host.simulator("stop", "--name", host.name)
    host.simulator("start", "--name", host.name)
    log = enabled.layout.log("boot")
    eventually(lambda: "The cloud is up after" in log.read_text(), "up, which rc started, to be done", LIMIT)
    services = enabled.services()
    assert set(services) == set(before) and {item["state"] for item in services.values()} == {"running"}
    with admin_api(enabled) as api:
        guest = first_guest(enabled, api)
        wait(lambda: guest.is_in("ACTIVE") and len(guest.pids()) == 1, "the instance to run again")
        wait(guest.is_reached, "the instance to be reached again")
    # Another up has nothing to do: neither packages nor the kernel lack anything.
    assert "nothing to do" in host.run("service", name, "start")


def test_nothing_is_left_of_it_when_it_is_disabled(whole_site: PairedSite) -> None:
    name = whole_site.layout.prefix
    before = whole_site.inside("cat", "/etc/rc.conf")
    whole_site.run("enable")
    assert whole_site.inside("sysrc", "-n", f"{name}_enable") == "YES\n"
    whole_site.run("disable")
    assert whole_site.inside("cat", "/etc/rc.conf") == before
    assert name not in whole_site.inside("ls", "/usr/local/etc/rc.d")
