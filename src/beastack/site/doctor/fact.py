"""A property that is asked for once, whoever asks first, from several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar, overload

if TYPE_CHECKING:
    from beastack.site.doctor.view import View

T = TypeVar("T")


class Fact(Generic[T]):
    """A property that is asked for once, whoever asks first, and then kept: what it raised as well."""

    def __init__(self, ask: Callable[[View], T]) -> None:
        self._ask = ask
        self._name = ask.__name__
        self.__doc__ = ask.__doc__

    @overload
    def __get__(self, view: None, owner: type) -> Fact[T]: ...

    @overload
    def __get__(self, view: View, owner: type) -> T: ...

    def __get__(self, view: View | None, owner: type) -> T | Fact[T]:
        if view is None:
            return self
        with view.locks.setdefault(self._name, threading.RLock()):
            if self._name in view.failures:
                raise view.failures[self._name]
            if self._name not in view.__dict__:
                try:
                    # Found there by the next access, before this descriptor is asked.
                    view.__dict__[self._name] = self._ask(view)
                except Exception as error:
                    view.failures[self._name] = error
                    raise
            known: T = view.__dict__[self._name]
            return known
