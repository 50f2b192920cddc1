"""Inside the fork server: lays side by side the code that every replica runs.

Executed by path, never imported by the daemon, and standard library only. Whoever calls a function writes to its code
object: a reference is taken, and counters and inline caches lie among the instructions. Loading leaves each piece of
code wherever it was met, some thousands of them on as many pages; and of each page that replicas write to, every
replica has a copy, and the fork server too.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any

Executed = dict[CodeType, dict[str, Any]]
"""Each piece of code, and the names of the module in which it ran."""

_CACHED = type(functools.cache(len))
_KINDS = frozenset({FunctionType, staticmethod, classmethod, MethodType, property, functools.cached_property, _CACHED})
_names_in_class = type.__dict__["__dict__"].__get__

_originals: list[CodeType] = []
"""Kept: let go, they would leave gaps, what a replica allocates would fill these, and their pages would be written to
all the same."""


@contextlib.contextmanager
def executed() -> Iterator[Executed]:
    """The code that this thread enters inside the block."""
    entered: Executed = {}

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            entered[frame.f_code] = frame.f_globals

    sys.setprofile(note)
    try:
        yield entered
    finally:
        sys.setprofile(None)


def move(codes: Executed) -> None:
    """Gives the functions that run this code an equal copy of it; the copies are made one after the other.

    Looked for where the code ran, and not among all objects, of which there are a million: what is found in no
    module, such as the closures that each route has of its own, stays as it is. A copy has never run: what the
    interpreter had learned about the original, it learns again.
    """
    moving = {id(code): code for code in codes}
    copies: dict[int, CodeType] = {}

    def copy(code: CodeType) -> CodeType:
        if id(code) not in copies:
            constants = tuple(copy(each) if id(each) in moving else each for each in code.co_consts)
            copies[id(code)] = code.replace(co_consts=constants)
        return copies[id(code)]

    namespaces = {id(names): names for names in codes.values()}
    for function in _functions(namespaces.values()):
        if id(function.__code__) in moving:
            function.__code__ = copy(function.__code__)
    _originals.extend(moving.values())


def _functions(namespaces: Iterable[Mapping[str, Any]]) -> Iterator[FunctionType]:
    """Those with a name in there, also in classes, under decorators and in closures.

    Nothing is asked of an object but what Python itself keeps in it: some load a library when they are looked at.
    """
    waiting = [each for names in namespaces for each in names.values()]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        kind = type(each)
        if (kind not in _KINDS and not issubclass(kind, type)) or id(each) in seen:
            continue
        seen.add(id(each))
        if kind is FunctionType:
            yield each
            for cell in each.__closure__ or ():
                with contextlib.suppress(ValueError):  # an empty one
                    waiting.append(cell.cell_contents)
        elif kind is property:
            waiting += (each.fget, each.fset)
        elif kind is functools.cached_property:
            waiting.append(each.func)
        elif kind is _CACHED:
            waiting.append(each.__wrapped__)
        elif kind in _KINDS:
            waiting.append(each.__func__)
        else:
            waiting += _names_in_class(each).values()
