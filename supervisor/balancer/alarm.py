"""A deadline that can be moved for next to nothing, because it is moved with every request.

A timer of the event loop costs something to set, and to cancel; here one is set only where none would ring in time, and
one that rings too early is set again for the rest.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Alarm:
    """Calls `act` at the moment that was set last, on the loop's clock."""

    __slots__ = ("_act", "_at", "_loop", "_rings_at", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
        self._loop = loop
        self._act = act
        self._at = self._rings_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        self._at = at
        if at < self._rings_at:
            self._wind(at)

    def stop(self) -> None:
        """For good."""
        self._at = self._rings_at = math.inf
        self._act = _nothing  # its owner holds the alarm
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wind(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = at
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._rings_at = math.inf
        at = self._at
        if at > self._loop.time():
            if at != math.inf:
                self._wind(at)
            return
        self._at = math.inf
        self._act()


def _nothing() -> None:
    pass
