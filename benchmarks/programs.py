"""The installed programs, read once, so that no side's first start is the one that waits for the disk.

All sides are made of the same packages and the same Python. What nobody has read for some minutes may have left the
machine's memory, and whoever starts first would read it for the others.
"""

from __future__ import annotations

import contextlib
import os
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

_PIECE = 2**20
_NOT_LOADED = frozenset({"site-packages", "test"})
"""Of the standard library's folder: packages that are another environment's, and its own tests."""


def read_programs(folders: Iterable[Path] | None = None) -> int:
    """The bytes that there are: of the standard library and of the packages beside it, unless told otherwise."""
    read = 0
    for path in _files(folders or {Path(sysconfig.get_path(each)) for each in ("stdlib", "purelib", "platlib")}):
        with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:  # it may be gone, or not for us
            while piece := file.read(_PIECE):
                read += len(piece)
    return read


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    library = sysconfig.get_path("stdlib")
    for folder in folders:
        for place, inner, names in os.walk(folder):
            if place == library:
                inner[:] = [each for each in inner if each not in _NOT_LOADED]
            yield from (path for name in names if (path := Path(place, name)).is_file())
