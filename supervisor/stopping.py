"""That the daemon is to end, and how much of a hurry there is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from dataclasses import dataclass, field


@dataclass(slots=True)
class StopRequest:
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""

    def ask(self, reason: str) -> None:
        """The first time asks for an orderly end, the second for one without waiting."""
        if self.asked.is_set():
            self.hurry.set()
        else:
            self.reason = reason
            self.asked.set()

    async def unless_in_hurry(self, work: Awaitable[object]) -> None:
        """Waits for `work`, or until there is a hurry; then the work is cancelled."""
        task = asyncio.ensure_future(work)
        hurry = asyncio.create_task(self.hurry.wait())
        try:
            await asyncio.wait([task, hurry], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (task, hurry):
                each.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await each
