"""Client credentials: the site's clouds.yaml, and its entry in the user's own."""

from __future__ import annotations

import os
import re
from pathlib import Path

from beastack.freebsd.command import find_program
from beastack.site import records
from beastack.site.configuration import Site
from beastack.site.records import Record

COMMAND_LINK = Path("/usr/local/bin/openstack")
_BEGIN = "# beastack begin: written by beastack up, removed by beastack destroy"
_END = "# beastack end"


class ClientsError(Exception):
    """The user's own clouds.yaml cannot take an entry; one line says why and what to do."""


def user_file() -> Path:
    """Return the clouds.yaml that the openstack command reads for this user (openstacksdk's second place)."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.environ.get("HOME", "/root"), ".config")
    return Path(base) / "openstack" / "clouds.yaml"


def cloud_names(site: Site) -> tuple[str, str]:
    """Return the names of the entries: the ordinary user's, the administrator's."""
    return "beastack", "beastack-admin"


def entries(site: Site) -> list[str]:
    """Return the lines of both entries, without indentation of their own."""
    lines: list[str] = []
    for name, user in zip(cloud_names(site), ("demo", "admin"), strict=True):
        lines += [
            f"{name}:",
            "  auth:",
            f"    auth_url: {site.auth_url}",
            f"    username: {user}",
            f'    password: "{site.secrets[user]}"',
            f"    project_name: {user}",
            "    user_domain_name: Default",
            "    project_domain_name: Default",
            # Quoted: YAML would take some names for numbers or truth values.
            f'  region_name: "{site.description.site.region}"',
            "  identity_api_version: 3",
        ]
    return lines


def own_text(site: Site) -> str:
    """Return the site's own clouds.yaml."""
    return "clouds:\n" + "".join(f"  {line}\n" for line in entries(site))


def openrc(site: Site, user: str) -> str:
    """Return shell lines that set the environment of the openstack command."""
    values = {
        "OS_AUTH_URL": site.auth_url,
        "OS_USERNAME": user,
        "OS_PASSWORD": site.secrets[user],
        "OS_PROJECT_NAME": user,
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": site.description.site.region,
        "OS_IDENTITY_API_VERSION": "3",
    }
    return "".join(f"export {name}={value}\n" for name, value in values.items())


def merged(text: str, site: Site) -> str:
    """Return a user's clouds.yaml with our entries in place of earlier ones of ours; all else as it was.

    :raises ClientsError: there is no ``clouds:`` mapping to put them in, or
        an entry of that name is somebody else's
    """
    rest = without_ours(text)
    if not rest.strip():
        rest = "clouds:\n"
    match = re.search(r"^clouds:[ \t]*(#.*)?$", rest, re.MULTILINE)
    if match is None:
        raise ClientsError("it has no line 'clouds:' that begins a mapping")
    for name in cloud_names(site):
        if re.search(rf"^\s+[\"']?{name}[\"']?:", rest, re.MULTILINE):
            raise ClientsError(f"it has an entry {name} that beastack did not write")
    following = rest[match.end() :] or "\n"
    child = re.search(r"^([ ]+)[^\s#]", following, re.MULTILINE)
    indent = child.group(1) if child is not None else "  "
    block = "\n".join(indent + line for line in (_BEGIN, *entries(site), _END))
    return f"{rest[: match.end()]}\n{block}{following}"


def without_ours(text: str) -> str:
    """Return a clouds.yaml without the entries that beastack wrote."""
    return re.sub(rf"^[ ]*{re.escape(_BEGIN)}\n.*?^[ ]*{re.escape(_END)}\n?", "", text, flags=re.DOTALL | re.MULTILINE)


def are_written(site: Site) -> bool:
    """Return whether everything that ``write`` writes is there and right."""
    own = site.layout.clouds_yaml
    if not own.exists() or own.read_text() != own_text(site):
        return False
    if not site.layout.is_default:
        return True
    if find_program("openstack") is None:
        return False
    user = user_file()
    if not user.exists():
        return False
    text = user.read_text()
    try:
        return merged(text, site) == text
    except ClientsError:
        return True  # said once by write; the site's own file serves


def write(site: Site, recorded: Path) -> None:
    """Write the site's clouds.yaml and, for the machine's own site, what makes the command work at once.

    :param recorded: where what is made elsewhere is recorded for ``destroy``
    :raises ClientsError: the user's own file cannot take the entries
    """
    _write_private(site.layout.clouds_yaml, own_text(site))
    if not site.layout.is_default:
        return
    if find_program("openstack") is None:
        records.add(recorded, Record("link", str(COMMAND_LINK), str(site.layout.venv / "bin/openstack")))
        COMMAND_LINK.parent.mkdir(parents=True, exist_ok=True)
        COMMAND_LINK.unlink(missing_ok=True)  # one that leads nowhere: find_program would have found another
        COMMAND_LINK.symlink_to(site.layout.venv / "bin" / "openstack")
    user = user_file()
    text = user.read_text() if user.exists() else ""
    try:
        new = merged(text, site)
    except ClientsError as error:
        raise ClientsError(
            f"{user}: {error}; use OS_CLIENT_CONFIG_FILE={site.layout.clouds_yaml} instead, or rename the entry"
        ) from error
    if new != text:
        for directory in (user.parent.parent, user.parent):
            if not directory.exists():
                records.add(recorded, Record("directory", str(directory)))
                directory.mkdir(mode=0o700)
        records.add(recorded, Record("clouds", str(user), "" if text else "made"))
        _write_private(user, new)


def remove(path: Path, made: bool) -> None:
    """Take our entries out of a user's clouds.yaml; a file that we made and that holds nothing else goes."""
    if not path.exists():
        return
    left = without_ours(path.read_text())
    if made and left.strip() in ("", "clouds:"):
        path.unlink()
    else:
        _write_private(path, left)


def _write_private(path: Path, text: str) -> None:
    path = path.resolve()  # a link stays one
    temporary = path.with_name(f".{path.name}.beastack")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    temporary.replace(path)
