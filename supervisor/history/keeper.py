"""When a generation has proved good: it serves everywhere, and has done so for a while in which nothing happened.

That it became ready is too little: one that dies a second later would be kept as the last good one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from supervisor import events as ev
from supervisor.history.store import History, InForce

TRY_AGAIN = 60.0
"""Seconds until what could not be kept is tried again, if nothing happens before."""


HEARS = (ev.ReplicaEvent, ev.RolloutStarted, ev.RolloutCompleted, ev.RolloutFailed, ev.RolledBackByOperator)
"""The events that may change what is good, or begin its trial anew."""


class Keeper:
    """Keeps each generation that proves good. `in_force` is asked when nothing has happened for `settle()` seconds."""

    def __init__(
        self,
        history: History,
        *,
        settle: Callable[[], float],
        in_force: Callable[[], InForce | None],
        events: ev.Events,
    ) -> None:
        self._history = history
        self._settle = settle
        self._in_force = in_force
        self._events = events
        self._happened = asyncio.Event()
        self._kept: InForce | None = None
        self._problem = ""

    @property
    def problem(self) -> str:
        """Why what serves is not kept, or "". A restart could then not go back to it."""
        return self._problem

    def on_event(self, event: ev.Event) -> None:
        """A listener of events that it HEARS."""
        match event:
            case ev.RolloutStarted() | ev.RolloutCompleted() | ev.RolloutFailed() | ev.ReplicaReady():
                self._happened.set()
            case ev.RolledBackByOperator():  # what was gone back from is kept beside it
                self._happened.set()
            case ev.ReplicaExited(expected=False) | ev.ReplicaLaunchFailed() | ev.ReplicaSuspect():
                self._happened.set()

    async def run(self) -> None:
        """Runs until it is cancelled, whatever becomes of the disk."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TRY_AGAIN if self._problem else None):
                    await self._happened.wait()
            self._happened.clear()
            try:
                async with asyncio.timeout(self._settle()):
                    await self._happened.wait()
            except TimeoutError:
                await self._look()

    async def _look(self) -> None:
        found = self._in_force()
        if found is None or found == self._kept:
            return
        try:
            await asyncio.to_thread(self._history.keep, found)
        except Exception as error:  # a full disk, a read-only one: a loud warning, never an end
            why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            before, self._problem = self._problem, f"{self._history.directory}: {why}"
            if self._problem != before:
                self._events.publish(ev.GenerationNotKept(found.generation.digest, self._problem))
        else:
            self._kept, self._problem = found, ""
            self._events.publish(ev.GenerationKept(found.generation.digest))
