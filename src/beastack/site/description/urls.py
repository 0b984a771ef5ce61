"""Keys whose value is a URL with a password in it.

No message about such a URL ever quotes it: messages end up in logs and terminals.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from beastack.site.description import kinds


def database_url() -> kinds.Kind:
    """Accept the URL of a MariaDB or MySQL server."""
    form = "mysql+pymysql://USER:PASSWORD@HOST[:PORT]/"

    def check(value: str) -> str:
        _refuse_unescaped(value, form)
        if value.startswith(("mysql://", "mariadb://")):
            raise ValueError("the scheme must be mysql+pymysql://; begin the URL with that")
        parts = _split(value, form)
        if parts.scheme != "mysql+pymysql":
            raise ValueError(f"must be {form}; only mysql+pymysql:// is supported")
        _check_endpoint(parts, form)
        if parts.path not in ("", "/"):
            raise ValueError(
                "must not name a database, each service gets one of its own;"
                " end the URL after the host and port (and write / in a password as %2F)"
            )
        return f"{parts.scheme}://{parts.netloc}/"

    return kinds.text(form, check)


def messaging_url() -> kinds.Kind:
    """Accept the URL of a RabbitMQ broker, of one or more members."""
    form = "rabbit://USER:PASSWORD@HOST[:PORT][,USER:PASSWORD@HOST[:PORT]...]/[VHOST]"

    def check(value: str) -> str:
        _refuse_unescaped(value, form)
        if value.startswith(("amqp://", "amqps://", "rabbitmq://")):
            raise ValueError("the scheme must be rabbit://; begin the URL with that")
        parts = _split(value, form)
        if parts.scheme != "rabbit":
            raise ValueError(f"must be {form}; only rabbit:// is supported")
        for member in parts.netloc.split(","):
            _check_endpoint(_split(f"rabbit://{member}", form), form)
        # "//" names the virtual host "/", as oslo.messaging has it.
        if "/" in parts.path[1:] and parts.path != "//":
            raise ValueError("has more than one / after the host; write / in a password or virtual host as %2F")
        return f"{parts.scheme}://{parts.netloc}{parts.path or '/'}"

    return kinds.text(form, check)


def _refuse_unescaped(url: str, form: str) -> None:
    """Refuse what urlsplit would quietly drop, or what would cut the password short."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"must be {form}, without spaces; write other characters than plain ASCII as %XX")
    if "?" in url or "#" in url:
        raise ValueError(f"must be {form}, without ? and #; write them in a password as %3F and %23")
    if re.search(r"%(?![0-9A-Fa-f]{2})", url):
        raise ValueError("has a % that begins no %XX; write % in a password as %25")


def _split(url: str, form: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError(f"must be {form}; the host is malformed") from None


def _check_endpoint(parts: SplitResult, form: str) -> None:
    if parts.netloc.count("@") > 1:
        raise ValueError("has more than one @; write @ in a password as %40")
    if not parts.username or not parts.password:
        raise ValueError(
            f"must be {form}; the user or the password is missing (write / and , in a password as %2F and %2C)"
        )
    if ":" in parts.password:
        raise ValueError("has more than one : before the @; write : in a password as %3A")
    if not parts.hostname:
        raise ValueError(f"must be {form}; the host is missing")
    try:
        port = parts.port
    except ValueError:
        # urlsplit's own message quotes the text, which may be half of a password.
        port = 0
    if port == 0:
        raise ValueError(f"must be {form}; the port must be from 1 to {kinds.HIGHEST_PORT}")


def mask(url: str | None) -> str | None:
    """Return a URL with its passwords hidden."""
    return None if url is None else re.sub(r"(//|,)([^:@/,]*):[^@/]*?@", r"\1\2:***@", url)
