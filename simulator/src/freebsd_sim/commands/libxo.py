"""Output in libxo's JSON form (xo_options(7)), which FreeBSD's programs offer by --libxo."""

from __future__ import annotations

import json
from typing import Any

from freebsd_sim.call import Call, NotSimulated


def take_style(call: Call) -> bool:
    """Remove --libxo words from the command's arguments; tell whether JSON is wanted.

    :raises NotSimulated: XML, HTML, pretty printing and other styles
    """
    style = "text"
    words = [call.argv[0]]
    rest = call.argv[1:]
    while rest:
        word = rest.pop(0)
        if word == "--libxo":
            style = rest.pop(0) if rest else ""
        elif word.startswith(("--libxo=", "--libxo:")):
            style = word[len("--libxo=") :]
            style = {"J": "json", "T": "text"}.get(style, style) if word[7] == ":" else style
        else:
            words.append(word)
    call.argv = words
    if style not in ("json", "text"):
        raise NotSimulated(f"{call.argv[0]}: --libxo {style}")
    return style == "json"


def format_document(content: dict[str, Any], version: str | None = None) -> str:
    """Return a document as libxo writes it without "pretty", with the newline.

    Dictionaries are containers, lists of dictionaries lists of instances, and
    other lists leaf lists; everything else is a leaf.
    """
    head = "" if version is None else f'"__version": "{version}", '
    return "{" + head + _format_fields(content) + "}\n"


def _format_fields(fields: dict[str, Any]) -> str:
    text = ""
    for name, value in fields.items():
        if isinstance(value, dict):
            item, gap = f"{json.dumps(name)}: {{{_format_fields(value)}}}", ", "
        elif isinstance(value, list):
            item, gap = f"{json.dumps(name)}: [{_format_items(value)}]", ", "
        else:
            item, gap = f"{json.dumps(name)}:{json.dumps(value, ensure_ascii=False)}", ","
        text += (gap if text else "") + item
    return text


def _format_items(items: list[Any]) -> str:
    if items and isinstance(items[0], dict):
        return ", ".join(f"{{{_format_fields(item)}}}" for item in items)
    return ",".join(json.dumps(item, ensure_ascii=False) for item in items)
