"""New certificates for all hosts of the cloud: what a host that was removed has is good for nothing then.

A certificate is valid for as long as its authority is trusted, and each host
trusts the one that its own description names. So to call one back is to make
an authority and everybody's certificate anew.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import asdict
from pathlib import Path

from beastack.site import certificates, secrets
from beastack.site.certificates import Certificate
from beastack.site.configuration import Site
from beastack.site.description import DescriptionError, Migration, load_description
from beastack.site.members import OtherHostError, read_members
from beastack.site.other_hosts import description_file, write_private


def renew(site: Site) -> dict[str, Path]:
    """Make an authority and certificates anew; return by name the descriptions of the hosts that need theirs.

    Interrupted, it is run again. Each host takes its own with ``join``, this one with ``up``; until all have,
    those that have do not give disks to the others nor take theirs.

    :raises OtherHostError: no host has a certificate, or a description is not where it was written
    :raises CommandError: openssl(1) refused
    """
    members = {name: member for name, member in read_members(site.layout).items() if member.has_guests}
    if not members:
        raise OtherHostError("no other host with guests was added: there are no certificates")
    before = {name: _read(site, name) for name in members}
    authority = certificates.make_authority()
    known = {"migration-authority": authority.certificate, "migration-authority-key": authority.key}
    if site.description.host.has_guests:
        own = certificates.issue(authority, site.hostname, site.host_address)
        known |= {"migration-certificate": own.certificate, "migration-key": own.key}
    texts = {}
    for name, member in members.items():
        address = str(ipaddress.ip_interface(member.address).ip)
        issued = certificates.issue(authority, name, address)
        texts[description_file(site.layout, name)] = _replaced(*before[name], authority, issued)
    secrets.add(site.layout.secrets, known)
    for file, text in texts.items():
        write_private(file, text)
    return {name: description_file(site.layout, name) for name in members}


def _read(site: Site, name: str) -> tuple[str, Migration]:
    """Return a host's description as it stands, and the certificate in it."""
    file = description_file(site.layout, name)
    try:
        text, migration = file.read_text(), load_description(file).migration
    except (OSError, DescriptionError) as error:
        raise OtherHostError(f"{file}, the description of {name}, cannot be read: {error}") from error
    if not all(value and json.dumps(value) in text for value in asdict(migration).values()):
        raise OtherHostError(f"{file} has no certificate of {name} as beastack host add writes it: put one back")
    return text, migration


def _replaced(text: str, before: Migration, authority: Certificate, issued: Certificate) -> str:
    after = asdict(Migration(authority.certificate, issued.certificate, issued.key))
    for name, value in asdict(before).items():
        # As joining.render writes it.
        text = text.replace(json.dumps(value), json.dumps(after[name]))
    return text
