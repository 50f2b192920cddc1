"""That large blocks of memory go back to the system when they are freed.

Also loaded by path, by the fork server, which has nothing of the daemon's: standard library only. The C library maps
large blocks one by one, and unmaps them when they are freed; but whenever it frees one that is larger than any before,
it takes blocks of that size from its heap from then on. A threshold that is set stays.
"""

from __future__ import annotations

import ctypes

LARGE = 2**20
"""Bytes. Below it the heap is faster, as mapping clears each page anew; the body of a chat is smaller by far."""

_M_MMAP_THRESHOLD = -3  # malloc.h


def give_back_large_blocks() -> bool:
    """For this process, from now on. False where the C library has no such setting (musl's never keeps them)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, LARGE))
