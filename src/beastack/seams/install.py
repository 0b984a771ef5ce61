"""Puts seams in place by import hooks, as their modules are imported and not before.

A hook runs when the module's own code has run and before the importer goes
on, so that ``from module import name`` sees the replacement as well. Nothing
is imported on a seam's behalf: nova refuses to start when some modules were
imported early.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Collection, Sequence
from types import ModuleType
from typing import Any

from beastack.seams.registry import Seam, SeamError, compare, read_allowed
from beastack.seams.source import DATA, MODULE

LOG = logging.getLogger("beastack.seams")


def check(seam: Seam, module: ModuleType) -> None:
    """Check that a seam fits an imported module.

    :raises SeamError: the release is not known to the seam, or its code changed
    """
    _check_source(seam, getattr(module, "__loader__", None), str(module.__file__))


def apply(seam: Seam, module: ModuleType, allow_changed: Collection[str] = ()) -> None:
    """Check a seam and put the replacements in place.

    :raises SeamError: it does not fit, and is not among those allowed
    """
    _permit(seam, lambda: check(seam, module), allow_changed)
    for attribute, make in seam.make.items():
        holder: Any = module
        *path, name = attribute.split(".")
        for part in path:
            holder = getattr(holder, part)
        original = getattr(holder, name, None) if seam.kind == DATA else getattr(holder, name)
        setattr(holder, name, make(original))


def serve(replacement: str) -> Callable[[importlib.machinery.ModuleSpec], importlib.machinery.ModuleSpec]:
    """Return the factory of a seam of kind ``module``: our module's code, under upstream's name."""

    def make(upstream: importlib.machinery.ModuleSpec) -> importlib.machinery.ModuleSpec:
        ours = importlib.util.find_spec(replacement)
        if ours is None or ours.origin is None:
            raise ImportError(f"{replacement} is not there", name=replacement)
        spec = importlib.util.spec_from_file_location(upstream.name, ours.origin)
        if spec is None:
            raise ImportError(f"{replacement} cannot be loaded", name=replacement)
        return spec

    return make


def _check_source(seam: Seam, loader: Any, file: str) -> None:
    release = importlib.metadata.version(seam.distribution)
    try:
        text = loader.get_source(seam.module)
    except (AttributeError, ImportError, OSError):
        text = None
    if text is None:
        raise SeamError(f"seam {seam.id}: {seam.distribution} {release} is installed without {file}")
    compare(seam, release, text, file)


def _permit(seam: Seam, test: Callable[[], None], allow_changed: Collection[str]) -> None:
    try:
        test()
    except SeamError as error:
        if seam.id not in allow_changed:
            raise
        LOG.warning("allowed all the same: %s", error)


class _Finder(importlib.abc.MetaPathFinder):
    """Lets the module's own loader run, then applies its seams, before the importer goes on."""

    def __init__(self, seams: Sequence[Seam], allow_changed: Collection[str]) -> None:
        self.waiting: dict[str, list[Seam]] = {}
        self.allow_changed = allow_changed
        for seam in seams:
            self.waiting.setdefault(seam.module, []).append(seam)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        seams = self.waiting.get(fullname)
        if seams is None:
            return None
        others = (finder.find_spec(fullname, path, target) for finder in tuple(sys.meta_path) if finder is not self)
        spec = next((found for found in others if found is not None), None)
        if spec is None or spec.loader is None:
            return None
        if seams[0].kind == MODULE:
            return self._replace(seams[0], spec)
        spec.loader = _Loader(spec.loader, seams, self.allow_changed)
        return spec

    def _replace(self, seam: Seam, spec: importlib.machinery.ModuleSpec) -> importlib.machinery.ModuleSpec:
        _permit(seam, lambda: _check_source(seam, spec.loader, str(spec.origin)), self.allow_changed)
        made: importlib.machinery.ModuleSpec = seam.make[""](spec)
        return made


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, seams: Sequence[Seam], allow_changed: Collection[str]) -> None:
        self.loader = loader
        self.seams = seams
        self.allow_changed = allow_changed

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        for seam in self.seams:
            apply(seam, module, self.allow_changed)

    def __getattr__(self, name: str) -> Any:
        # inspect and importlib.resources ask the loader for sources and files.
        return getattr(self.loader, name)


def install(seams: Sequence[Seam], allow_changed: Collection[str] | None = None) -> None:
    """Arrange for seams to be applied as their modules are imported.

    :param allow_changed: ids of seams that may stand over code that changed,
        which is logged; without it, what the environment names
    :raises SeamError: a module is imported already and its seam does not fit
    :raises ValueError: a whole module is to be replaced and something in it, too
    """
    allowed = read_allowed(os.environ) if allow_changed is None else allow_changed
    whole = {seam.module for seam in seams if seam.kind == MODULE}
    for seam in seams:
        if seam.module in whole and sum(other.module == seam.module for other in seams) > 1:
            raise ValueError(f"{seam.module} is replaced as a whole and in parts")
        if seam.module in whole and seam.module in sys.modules:
            raise SeamError(f"seam {seam.id} comes too late: {seam.module} is imported already")
    later = []
    for seam in seams:
        if seam.module in sys.modules:
            apply(seam, sys.modules[seam.module], allowed)
        else:
            later.append(seam)
    if later:
        sys.meta_path.insert(0, _Finder(later, allowed))
