"""Print upstream's privileged entry points as JSON: context, then module, then functions.

Run with the interpreter of an environment with the OpenStack release. Every
module of these packages that mentions an entry point is imported and looked
at, so that one that nobody listed is found too.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

PACKAGES = (
    "nova", "neutron", "os_brick", "vif_plug_ovs", "os_vif", "vif_plug_linux_bridge",
    # Our own, beside upstream's.
    "beastack.port.nova",
)  # fmt: skip
DECORATOR = re.compile(r"^@([\w.]+\.entrypoint|entry_point)\b", re.MULTILINE)


def find_function(value: Any) -> Any:
    """Return the function inside what decorators made of it."""
    while True:
        if isinstance(value, functools.partial):
            value = value.args[0]  # PrivContext._wrap's first argument
        elif hasattr(value, "__wrapped__"):
            value = value.__wrapped__
        else:
            return value


def main() -> None:
    """Print them."""
    found: dict[str, dict[str, list[str]]] = {}
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        root = Path(spec.origin).parent
        for file in sorted(root.rglob("*.py")):
            path = file.relative_to(root).with_suffix("")
            if "tests" in path.parts or not DECORATOR.search(file.read_text()):
                continue
            name = ".".join((package, *path.parts)).removesuffix(".__init__")
            module = importlib.import_module(name)
            for attribute, value in sorted(vars(module).items()):
                context = getattr(value, "privsep_entrypoint", None)
                if context is not None and find_function(value).__module__ == name:
                    found.setdefault(context.pypath, {}).setdefault(name, []).append(attribute)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
