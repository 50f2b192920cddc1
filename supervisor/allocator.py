"""That free pages of the heap go back to the system. Large blocks do by themselves (`large_blocks`).

What lies on the heap goes back by itself only from its end: the smallest block that still lives above keeps all of it.
A long body comes in pieces of at most a few hundred KiB, all of them below the threshold, and between them lies what
stays, such as lines of the log. So the heap has to be told to give back the pages that are free within it: a daemon of
45 MiB that had read uploads stayed at 60 to 100 otherwise. That takes 0.1 ms for each MiB that goes back, and hardly
anything where there is none; it is done by whoever has time, see `GiveBack`.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable

from supervisor.memory import Stir

LOOK_EVERY = 5.0
"""Seconds. A look at a process that has touched no memory since the last one costs 20 µs."""


def give_back_free_pages() -> None:
    """Does nothing where the C library cannot be told."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class GiveBack:
    """Gives free pages back whenever the process has touched memory since the last look. `give` does it."""

    def __init__(
        self,
        *,
        every: float = LOOK_EVERY,
        give: Callable[[], None] = give_back_free_pages,
        stir: Callable[[int], Stir | None] = Stir.of,
    ) -> None:
        self._every = every
        self._give = give
        self._stir = stir
        self._before: Stir | None = None

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(self._every)
            self.look()

    def look(self) -> None:
        now = self._stir(os.getpid())
        if now is None or (self._before is not None and now.settled_since(self._before)):
            return
        self._give()
        self._before = self._stir(os.getpid())  # what has just gone back is no reason for another time
