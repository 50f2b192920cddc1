"""Looks now and then at what each replica has become, and has those that are worn out exchanged, one at a time.

Owns the samples. Who is worn out is `policy.recycling`'s to say, and whether this is the moment for it the pool's: the
pool refuses while anything else is under way, and then it is asked again at the next look.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import structlog

from supervisor import memory
from supervisor.fleet.member import Member
from supervisor.fleet.pool import Pool
from supervisor.policy.recycling import Limits, Wear, next_recycling
from supervisor.rotation import Rotation

LOOK_EVERY = 15.0
"""Seconds. Measuring one process's private memory keeps the kernel busy for some 13 ms; who idles is left alone."""

log = structlog.get_logger("litesup.recycler")


class Recycler:
    """`private` and `available` measure memory, in bytes, and may block: they are called in a thread."""

    def __init__(
        self,
        pool: Pool,
        rotation: Rotation,
        limits: Callable[[], Limits],
        *,
        look_every: float = LOOK_EVERY,
        private: Callable[[int], int | None] | None = None,
        available: Callable[[], int] = memory.available,
        clock: Callable[[], float] = time.monotonic,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self._rotation = rotation
        self._limits = limits
        self._look_every = look_every
        self._private = private or memory.PrivateMemory()
        self._available = available
        self._clock = clock
        self._luck = luck
        self._drawn: dict[int, float] = {}
        self._sampled: dict[int, int | None] = {}

    def private_memory(self, replica: int) -> int | None:
        """Bytes, as of the last look; None before the first."""
        return self._sampled.get(replica)

    async def run(self) -> None:
        """Runs until it is cancelled."""
        while True:
            await asyncio.sleep(self._look_every)
            try:
                await self.look()
            except Exception:  # a look that fails costs that look
                log.exception("recycling_failed")

    async def look(self) -> None:
        """Measures every serving replica, and asks for the one that is worn out."""
        members = [member for member in self._pool.members if member.serving and member.pid is not None]
        self._sampled = await asyncio.to_thread(self._sample, {m.replica: m.pid for m in members if m.pid is not None})
        self._drawn = {member.replica: self._drawn.get(member.replica, self._luck()) for member in members}
        limits = self._limits()
        if not limits.any:
            return
        available = await asyncio.to_thread(self._available)
        now = self._clock()
        recycling = next_recycling([self._wear(m, now) for m in members], limits, available=available)
        if recycling is not None:
            self._pool.mailbox.recycle(recycling.replica, recycling.reason, surge=recycling.surge)

    def _sample(self, pids: dict[int, int]) -> dict[int, int | None]:
        return {replica: self._private(pid) for replica, pid in pids.items()}

    def _wear(self, member: Member, now: float) -> Wear:
        upstream = self._rotation.get(member.replica)
        return Wear(
            replica=member.replica,
            private_memory=self._sampled.get(member.replica),
            requests=0 if upstream is None else upstream.served,
            age=0.0 if member.ready_since is None else now - member.ready_since,
            luck=self._drawn[member.replica],
        )
