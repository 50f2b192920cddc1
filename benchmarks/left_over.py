"""Nothing that a measurement started outlives it, however it ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

import psutil

# What loses its parent, as a daemon does on purpose, becomes a child of this process.
_ADOPT = 36  # PR_SET_CHILD_SUBREAPER
ENDS_WITHIN = 10.0  # seconds; each has been asked by whoever started it


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """Kills what has been started within the block and still runs, its daemons included."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_ADOPT, 1, 0, 0, 0)
    before = set(_descendants())
    try:
        yield
    finally:
        left = [each for each in _descendants() if each not in before]
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(left, timeout=ENDS_WITHIN)  # which reaps those that were adopted, too
        prctl(_ADOPT, 0, 0, 0, 0)


def _descendants() -> list[psutil.Process]:
    return psutil.Process(os.getpid()).children(recursive=True)
