"""Inside the fork server: lays side by side the code that every replica runs.

Executed by path, never imported by the daemon, and standard library only. Whoever calls a function writes to its code
object: a reference is taken, and counters and inline caches lie among the instructions. Loading leaves each piece of
code wherever it was met, some thousands of them on as many pages; and of each page that replicas write to, every
replica has a copy, and the fork server too.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType, FunctionType
from typing import Any

_originals: list[CodeType] = []
"""Kept: let go, they would leave gaps, what a replica allocates would fill these, and their pages would be written to
all the same."""


@contextlib.contextmanager
def executed() -> Iterator[set[CodeType]]:
    """The code that this thread enters inside the block."""
    entered: set[CodeType] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            entered.add(frame.f_code)

    sys.setprofile(note)
    try:
        yield entered
    finally:
        sys.setprofile(None)


def move(codes: Iterable[CodeType]) -> None:
    """Gives the functions that run this code an equal copy of it; the copies are made one after the other.

    To be called before `gc.freeze`, which hides functions. A copy has never run: what the interpreter had learned about
    the original, it learns again.
    """
    moving = {id(code): code for code in codes}
    copies: dict[int, CodeType] = {}

    def copy(code: CodeType) -> CodeType:
        if id(code) not in copies:
            constants = tuple(copy(each) if id(each) in moving else each for each in code.co_consts)
            copies[id(code)] = code.replace(co_consts=constants)
        return copies[id(code)]

    for function in [each for each in gc.get_objects() if type(each) is FunctionType]:  # of a million objects
        if id(function.__code__) in moving:
            function.__code__ = copy(function.__code__)
    _originals.extend(moving.values())
