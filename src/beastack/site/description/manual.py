"""site.toml(5), the manual page of the site's description: made from the same rules that reading and checking go by.

``beastack describe --mdoc`` prints it; docs/man/site.toml.5 is that, kept so by a test.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from beastack.site.description.explaining import tables

#: Of a line of the page's source; mandoc asks for less than 80.
WIDTH = 78

HEAD = """\
.\\" Made by beastack describe --mdoc: changes here are overwritten.
.Dd November 28, 2026
.Dt SITE.TOML 5
.Os
.Sh NAME
.Nm site.toml
.Nd description of a Beastack site
.Sh DESCRIPTION
.Nm
says how
.Xr beastack 8
is to make a cloud.
It is a TOML file.
Everything in it is optional, and an absent file means the defaults.
.Pp
A change takes effect with the next
.Cm beastack up ,
which starts those services anew whose configuration it changes.
What was made in the cloud itself stays as it is: networks, flavors, the first instance.
.Pp
Whatever is wrong is reported at once, before anything is done: one line for
each mistake, with the file, the line, the key and what to do.
.Sh TABLES AND KEYS
"""

FOOT = """\
.Sh FILES
.Bl -tag -width Ds
.It Pa /var/db/beastack/site.toml
The description, on
.Fx .
.It Pa /var/lib/beastack/site.toml
The same on Linux.
.It Pa /etc/beastack/site.toml
Read where there is no file in the state directory, and the state directory is the default one.
.El
.Pp
.Fl -root
and
.Fl -site
of
.Xr beastack 8
name others.
.Sh EXAMPLES
APIs that other machines reach, and name servers for the instances:
.Bd -literal -offset indent
[site]
bind_address = "192.0.2.10"

[network]
dns = ["192.0.2.53"]
.Ed
.Sh SEE ALSO
.Xr beastack 8
.Sh SECURITY CONSIDERATIONS
.Cm database.url ,
.Cm messaging.url
and
.Cm control.metadata_secret
hold passwords: keep a file that has them readable by root alone.
"""


def manual() -> str:
    """Return the page as mdoc(7)."""
    lines = [line for text in HEAD.splitlines() for line in _folded(text)]
    for table, keys in tables():
        lines += [f".Ss Table {table}", ".Bl -tag -width Ds"]
        for key in keys:
            lines.append(f".It Cm {key.name}")
            lines += _sentences(key.about)
            if key.unit:
                lines += _sentences(f"Unit: {key.unit}.")
            lines += _sentences(f"Accepts: {key.accepts}.")
            lines += _sentences(f"Default: {key.default}.")
        lines.append(".El")
    return "\n".join([*lines, *(line for text in FOOT.splitlines() for line in _folded(text))]) + "\n"


def _sentences(text: str) -> Iterator[str]:
    """Give each sentence a line of its own, as mdoc wants it, and fold what is long."""
    escaped = text.replace("\\", "\\e")
    for sentence in re.split(r"(?<=[.?]) (?=[A-Z0-9])", escaped):
        # The system's name is a macro, with what punctuation follows it.
        for part in re.split(r" ?(\bFreeBSD\b[.,:;]?) ?", sentence):
            if part.startswith("FreeBSD"):
                yield f".Fx {part.removeprefix('FreeBSD')}".rstrip()
            elif part:
                yield from _folded(part)


def _folded(text: str) -> list[str]:
    if text.startswith("."):
        return [text]
    folded = textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False) or [text]
    # A line that begins with a dot or an apostrophe would be a request.
    return [f"\\&{line}" if line.startswith((".", "'")) else line for line in folded]
