"""What the supervisor is told to run: pure data, exchanged as JSON."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, TypeVar

#: How many bytes a spec may have as JSON: requests to a parent are one packet each.
LIMIT = 1 << 16

#: Names are parts of file names and of requests.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}")


@dataclass(frozen=True)
class Parent:
    """A preloaded parent: imports ``modules`` once, then forks what is asked of it.

    ``block`` names top-level modules whose import must fail in this parent
    and in what it forks; ``base`` is the parent it is itself forked from
    (None: the root of all parents, a fresh interpreter); ``python`` is that
    interpreter and ``env`` its environment (only for a root). ``prepare``
    is a ``module:function`` that is called with ``argv`` once all is
    imported, for work that every child would do again.
    """

    name: str
    modules: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    base: str | None = None
    python: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: str = ""
    argv: tuple[str, ...] = ()


@dataclass(frozen=True)
class Service:
    """One process to keep running, or (as a task) to run to its end.

    ``parent``: name of the preloaded parent it is forked from; None means
    ``argv`` is executed as a program.
    ``target``: for forked services, ``module:function`` called after the
    privileges are dropped; ``argv`` becomes ``sys.argv``.
    ``tier``: stop order; the highest tier stops first.
    ``before_drop``: a ``module:function`` called as root before the user
    changes (privilege separation starts its daemons there).
    ``stop_signal`` and ``stop_timeout`` (seconds): how it is asked to end,
    and when it is made to.
    ``confined``: it runs under the limits of ``confine``, and gains no
    privileges by what it executes unless ``new_privileges`` says so.
    """

    name: str
    argv: tuple[str, ...]
    parent: str | None = None
    target: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = "root"
    cwd: str = "/"
    umask: int = 0o027
    log: str = ""
    tier: int = 0
    stop_signal: int = 15
    stop_timeout: float = 15.0
    before_drop: str = ""
    confined: bool = False
    new_privileges: bool = False

    def digest(self) -> str:
        """Return a short hash that changes when anything about the service does."""
        text = json.dumps(to_json(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Helper:
    """A privileged daemon that services may ask for by ``name``; the list of them is closed.

    It is forked from ``parent``, confined, and runs ``target`` with the name
    as ``sys.argv``, in the environment ``env``; the asker's connection is
    descriptor 3. Only processes of the users ``peers`` may ask for it. It
    runs as root, or as its asker (``as_asker``). ``new_privileges``: the
    programs that it executes may have more privileges than itself.
    """

    name: str
    parent: str
    target: str
    env: Mapping[str, str] = field(default_factory=dict)
    log: str = ""
    peers: tuple[str, ...] = ("root",)
    as_asker: bool = False
    new_privileges: bool = False


def to_json(item: Parent | Service | Helper) -> dict[str, Any]:
    """Return a JSON-ready mapping of a spec."""
    return asdict(item)


def parent_from_json(data: object) -> Parent:
    """Return the parent that ``to_json`` described.

    :raises ValueError: it is not one
    """
    return _from_json(Parent, data)


def service_from_json(data: object) -> Service:
    """Return the service that ``to_json`` described.

    :raises ValueError: it is not one, or nothing can be run by it
    """
    service = _from_json(Service, data)
    if not service.argv or not service.log:
        raise ValueError(f"{service.name} has no {'log' if service.argv else 'argv'}")
    if service.parent is not None and not service.target:
        raise ValueError(f"{service.name} is forked, but has no target")
    if not 0 < service.stop_signal < 65 or not 0 <= service.stop_timeout < float("inf"):
        raise ValueError(f"{service.name} cannot be stopped that way")
    if not 0 <= service.umask <= 0o777:
        raise ValueError(f"{service.name} has no file mode for a umask")
    return service


def helper_from_json(data: object) -> Helper:
    """Return the helper that ``to_json`` described.

    :raises ValueError: it is not one
    """
    helper = _from_json(Helper, data)
    if not helper.log:
        raise ValueError(f"{helper.name} has no log")
    return helper


_Spec = TypeVar("_Spec", Parent, Service, Helper)


def _from_json(kind: type[_Spec], data: object) -> _Spec:
    what = kind.__name__.lower()
    if not isinstance(data, Mapping):
        raise ValueError(f"a {what} must be a mapping, not {data!r:.40}")
    known = {item.name: item for item in fields(kind)}
    if unknown := sorted(set(data) - set(known)):
        raise ValueError(f"a {what} has no {unknown[0]!r}")
    values: dict[str, Any] = {}
    for name, item in known.items():
        if name in data:
            if not _IS[str(item.type)](data[name]):
                raise ValueError(f"{name} of a {what} must be {item.type}, not {data[name]!r:.40}")
            values[name] = tuple(data[name]) if isinstance(data[name], list) else data[name]
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ValueError(f"a {what} must have a {name}")
    if not _NAME.fullmatch(values["name"]):
        raise ValueError(f"no {what} can be named {values['name']!r:.120}")
    if len(json.dumps(data)) > LIMIT:
        raise ValueError(f"{values['name']} is larger than {LIMIT} bytes")
    return kind(**values)


def _is_text(value: object) -> bool:
    # The kernel ends arguments, environments and paths at the first null byte.
    return isinstance(value, str) and "\0" not in value


def _is_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(_is_text(item) for item in value)


def _is_environment(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        _is_text(name) and name and "=" not in name and _is_text(text) for name, text in value.items()
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


#: Whether a value is what a field's annotation says.
_IS: Mapping[str, Callable[[object], bool]] = {
    "str": _is_text,
    "str | None": lambda value: value is None or _is_text(value),
    "int": _is_count,
    "bool": lambda value: isinstance(value, bool),
    "float": lambda value: _is_count(value) or isinstance(value, float),
    "tuple[str, ...]": _is_texts,
    "Mapping[str, str]": _is_environment,
}
