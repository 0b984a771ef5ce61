"""Start the site when the machine boots: by a systemd unit, or on FreeBSD by rc(8)."""

from __future__ import annotations

from pathlib import Path

from beastack.freebsd.command import run
from beastack.site import records
from beastack.site.configuration import Site
from beastack.site.host import freebsd_boot
from beastack.site.operate import SiteError
from beastack.site.records import Record


def unit_file(site: Site) -> Path:
    """Return where the unit of a site lives."""
    return Path("/etc/systemd/system") / f"{site.layout.prefix}.service"


def unit_text(site: Site, command: Path) -> str:
    """Return the unit: up at boot, down at shutdown.

    The supervisor is not the unit's child to be killed with it: ``up`` and
    ``down`` own its life (KillMode=none would be deprecated; process is not).
    """
    base = f"{command} --root {site.layout.root}"
    return (
        "# Written by beastack enable, removed by beastack disable and destroy.\n"
        "[Unit]\nDescription=Beastack cloud\nAfter=network-online.target local-fs.target\n"
        "Wants=network-online.target\n\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nKillMode=process\nDelegate=yes\n"
        f"ExecStart={base} up\nExecStop={base} down\nTimeoutStartSec=900\nTimeoutStopSec=300\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def enable(site: Site) -> str:
    """Write and enable what starts the site; return what was done, in one line.

    :raises SiteError: this machine is not run by systemd
    :raises CommandError: it cannot be enabled
    """
    if site.description.host.kind == "freebsd":
        return freebsd_boot.enable(site)
    if not Path("/etc/systemd/system").is_dir() or not Path("/usr/bin/systemctl").exists():
        raise SiteError(
            "this machine has no systemd: start the site with `beastack up` from whatever starts services here"
        )
    file = unit_file(site)
    command = Path(__file__).resolve().parents[3] / "beastack"
    records.add(site.layout.records, Record("unit", str(file)))
    file.write_text(unit_text(site, command))
    run(["systemctl", "enable", file.name])
    return f"{file.name} starts the site at boot"


def disable(site: Site) -> str:
    """Disable and remove what starts the site; return what was done, in one line. Raises CommandError."""
    if site.description.host.kind == "freebsd":
        return freebsd_boot.disable(site)
    file = unit_file(site)
    if not file.exists():
        return "the site is not started at boot"
    run(["systemctl", "disable", file.name])
    file.unlink()
    records.drop(site.layout.records, Record("unit", str(file)))
    return f"{file.name} is removed"
