"""The pool's mailbox: whatever happens to replicas, and whatever is asked of the pool, arrives here, in order.

Anybody may put something in; the pool alone takes it out. Who waits for an answer holds a future that came with the
message, and gets an error when the pool ends first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from supervisor.control.operations import ReloadOutcome
from supervisor.errors import LitesupError
from supervisor.fleet.messages import (
    DrainSlot,
    FleetRules,
    Message,
    Recycle,
    Replace,
    Rule,
    Scale,
    StopAll,
    Target,
    Want,
)
from supervisor.litellm_config.generation import Generation

STOPS = "the daemon stops"


def refuse(future: asyncio.Future[Any], why: str) -> None:
    """Tells whoever asked that it will not be. Does nothing for one who was told something already."""
    if not future.done():
        future.set_exception(LitesupError(why))
        future.exception()  # not everybody who asked waits; an error that nobody reads is no news


class Mailbox:
    def __init__(self) -> None:
        self._queue: asyncio.Queue[Message] = asyncio.Queue()

    def post(self, message: Message) -> None:
        self._queue.put_nowait(message)

    def want(
        self, generation: Generation, config_path: Path, *, reason: str, again: bool, fallback: Target | None = None
    ) -> asyncio.Future[ReloadOutcome]:
        """Makes this the generation to run. The future tells how that ended.

        With `again`, a generation that failed before is tried once more, and no backoff is waited for. `fallback`
        counts for the first generation only: it is gone back to if no replica of that one stands.
        """
        outcome: asyncio.Future[ReloadOutcome] = asyncio.get_running_loop().create_future()
        self.post(Want(generation, config_path, reason, outcome, again, fallback))
        return outcome

    def scale(self, count: int) -> None:
        self.post(Scale(count))

    def rule(self, rules: FleetRules) -> None:
        """Makes these the rules from now on."""
        self.post(Rule(rules))

    async def replace(self, slots: tuple[int, ...]) -> tuple[int, ...]:
        """Exchanges the replicas of these slots (all, if none is named); returns when the new ones serve."""
        done: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
        self.post(Replace(slots, done))
        return await done

    def recycle(self, replica: int, reason: str, *, surge: bool) -> None:
        """Asks for one replica to be exchanged; whether this is the moment is the pool's to say."""
        self.post(Recycle(replica, reason, surge))

    async def drain(self, slot: int) -> None:
        """Lets the slot's replica finish and go; returns when that has begun."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.post(DrainSlot(slot, done))
        await done

    def stop(self) -> None:
        """Ends every replica; the pool's `run` returns when none is left."""
        self.post(StopAll())

    async def take(self, patience: float | None) -> list[Message]:
        """Everything that has arrived, waiting at most `patience` seconds (None: for ever) for the first."""
        messages: list[Message] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                messages.append(await self._queue.get())
        while not self._queue.empty():
            messages.append(self._queue.get_nowait())
        return messages

    def close(self, waiting: Iterable[asyncio.Future[Any]]) -> None:
        """Nobody shall wait for what cannot come true any more: neither these, nor who is still in the box."""
        futures = list(waiting)
        while not self._queue.empty():
            match self._queue.get_nowait():
                case Want(outcome=future) | Replace(done=future) | DrainSlot(done=future):
                    futures.append(future)
        for future in futures:
            refuse(future, STOPS)
