"""The seam between fleet and balancer: which replicas take requests now, and how many each one holds.

The fleet adds, marks and removes upstreams; the balancer leases them. Neither knows the other. Everything happens in
one event loop and no method awaits between reading and acting, except `lease` and `wait_idle`, which only wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from supervisor.errors import NobodyReady
from supervisor.policy.balancing import NOBODY, Asking, BalancingRules, Choose, decayed
from supervisor.policy.queueing import QueueLimits, retry_after


class Unanswered(Protocol):
    """A request that was sent, and of whose answer no byte has come."""

    def give_up(self) -> None:
        """Its replica hangs: goes elsewhere if it may. Returns at once."""
        ...


@dataclass(slots=True, eq=False)
class Upstream:
    """One replica as the balancer sees it. Owned by the rotation; others read it."""

    replica: int
    slot: int
    generation: str
    socket_path: Path
    credential: SecretStr
    key_header: str = "Authorization"  # where this replica looks for a key (general_settings.litellm_key_header_name)
    suspect: bool = False
    leaving: bool = False
    in_flight: int = 0
    served: int = 0
    chosen: int = 0  # the turn in which it last got a request; see policy.balancing
    ready_at: float = -math.inf  # when it was put into rotation
    failures: float = 0.0  # of its own, as of `failed_at`; see policy.balancing
    failed_at: float = 0.0
    last_byte_at: float = float("-inf")  # when a byte of a response was last relayed from it, monotonic
    unanswered: set[Unanswered] = dataclasses.field(default_factory=set, repr=False)
    awaited: bool = False  # somebody waits until it is idle
    idle: asyncio.Event = dataclasses.field(default_factory=asyncio.Event, repr=False)


@dataclass(slots=True, eq=False)
class Waiter:
    """One request in line, and the replicas that it must not get."""

    future: asyncio.Future[Upstream]
    tried: frozenset[int]
    again: bool  # it has tried one before, so it stands in front of those that have not


SECOND_CHANCE = 1.0
"""Seconds after which a request that was refused by every replica present may get one of them again.

By then a dead one is replaced; one that merely could not take a connection at that moment deserves another try.
"""


class Rotation:
    """The upstreams in rotation and the line in front of them.

    `choose` is the balancing policy. A suspect upstream is chosen only when all are suspect: a pool in which everybody
    is suspect has a problem that ejecting does not solve. `jitter` draws from 0 to 1.
    """

    def __init__(
        self,
        choose: Choose,
        limits: QueueLimits,
        rules: BalancingRules | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._choose = choose
        self._limits = limits
        self._rules = rules or BalancingRules()
        self._clock = clock
        self._jitter = jitter
        self._upstreams: dict[int, Upstream] = {}
        self._order: list[Upstream] = []  # those that take requests, by slot
        self._line: deque[Waiter] = deque()
        self._asking = Asking()
        self._settled_at = -math.inf  # when nobody is a newcomer any more
        self._left: list[Callable[[Upstream], None]] = []
        self.key_headers: frozenset[str] = frozenset()
        """Every header, in lower case, in which a replica has looked for a key so far. For others to read."""

    def __repr__(self) -> str:
        return f"<Rotation: {len(self._upstreams)} upstreams, {self.in_flight} in flight, {self.waiting} waiting>"

    def __iter__(self) -> Iterator[Upstream]:
        return iter(tuple(self._upstreams.values()))

    @property
    def in_flight(self) -> int:
        return sum(upstream.in_flight for upstream in self._upstreams.values())

    @property
    def waiting(self) -> int:
        return len(self._line)

    @property
    def available(self) -> int:
        """How many upstreams may be given a request."""
        return len(self._order)

    def rule(self, choose: Choose, limits: QueueLimits, rules: BalancingRules) -> None:
        """Goes by these from now on. Who is in line already stays there, for as long as was said then."""
        self._choose, self._limits, self._rules = choose, limits, rules
        self._serve_line()  # there may be more places now

    def on_removed(self, listener: Callable[[Upstream], None]) -> None:
        """Calls `listener` with each upstream that is removed, so that pooled connections to it can be closed."""
        self._left.append(listener)

    # The fleet's side.

    def add(self, upstream: Upstream) -> None:
        """Puts a ready replica into rotation; requests in line get it at once."""
        upstream.idle.set()
        upstream.ready_at = self._clock()
        self._settled_at = upstream.ready_at + self._rules.slow_start
        self._upstreams[upstream.replica] = upstream
        self._place(upstream)
        self.key_headers |= {upstream.key_header.lower()}
        self._serve_line()

    def set_suspect(self, replica: int, suspect: bool) -> None:
        upstream = self._upstreams.get(replica)
        if upstream is not None:
            upstream.suspect = suspect
            self._serve_line()

    def give_up(self, replica: int) -> None:
        """What waits there for the first byte of an answer may go elsewhere, if there is anybody better."""
        upstream = self._upstreams.get(replica)
        if upstream is not None and any(not other.suspect for other in self._order if other is not upstream):
            for request in tuple(upstream.unanswered):
                request.give_up()

    def drain(self, replica: int) -> None:
        """Gives it no new request; what it holds goes on. Does nothing for one that is not in rotation."""
        upstream = self._upstreams.get(replica)
        if upstream is not None:
            self._displace(upstream)

    def remove(self, replica: int) -> None:
        """Takes it out for good. Does nothing the second time."""
        upstream = self._upstreams.pop(replica, None)
        if upstream is not None:
            upstream.idle.set()
            self._displace(upstream)
            for listener in self._left:
                listener(upstream)

    def get(self, replica: int) -> Upstream | None:
        return self._upstreams.get(replica)

    async def wait_idle(self, replica: int) -> None:
        """Returns when nothing is in flight on it, or when it is gone. Deadlines are the caller's."""
        upstream = self._upstreams.get(replica)
        while upstream is not None and upstream.in_flight and replica in self._upstreams:
            upstream.awaited = True
            upstream.idle.clear()
            await upstream.idle.wait()

    # The balancer's side.

    async def lease(self, tried: frozenset[int] = frozenset(), *, timeout: float | None = None) -> Upstream:  # noqa: ASYNC109
        """An upstream for one request, at once or after a wait: see `take` and `wait`."""
        return self.take(tried) or await self.wait(tried, timeout=timeout)

    def take(self, tried: frozenset[int] = frozenset()) -> Upstream | None:
        """An upstream for one request, if one can be had now; give it back with `release`.

        `tried` are replicas that this request must not get again.
        """
        # Whoever stands in line cannot be served by what is present, so nobody is overtaken here.
        asking = self._asking
        asking.tried = tried
        asking.now = now = self._clock()
        asking.newcomers = now < self._settled_at
        index = self._choose(self._order, asking, self._rules)
        if index == NOBODY:
            return None
        upstream = self._order[index]
        asking.cursor = upstream.slot
        asking.turn += 1
        upstream.chosen = asking.turn
        upstream.served += 1
        upstream.in_flight += 1
        return upstream

    async def wait(self, tried: frozenset[int] = frozenset(), *, timeout: float | None = None) -> Upstream:  # noqa: ASYNC109
        """What `take` gives, as soon as it can, in the order of asking.

        `tried` counts no more when no other upstream appears within SECOND_CHANCE. A request that has tried one before
        was let in before, so it stands in front, even where the line is full. `timeout` shortens the wait. Raises
        NobodyReady when the line is full or the wait in it is too long.
        """
        limit = self._limits.timeout if timeout is None else min(timeout, self._limits.timeout)
        if len(self._line) >= self._limits.size and not tried:
            raise self._nobody("and the queue is full" if self._limits.size else "and nobody waits in a queue")
        loop = asyncio.get_running_loop()
        waiter = Waiter(loop.create_future(), tried, again=bool(tried))
        place = len(self._line)
        if tried:
            place = next((index for index, other in enumerate(self._line) if not other.again), place)
        self._line.insert(place, waiter)
        second_chance = loop.call_later(SECOND_CHANCE, self._forgive, waiter) if tried else None
        try:
            async with asyncio.timeout(limit):
                return await waiter.future
        except TimeoutError:
            upstream = self._left_line(waiter)
            if upstream is not None:
                return upstream
            raise self._nobody(f"and that did not change within {limit:.3g} s") from None
        except asyncio.CancelledError:
            upstream = self._left_line(waiter)
            if upstream is not None:
                self.release(upstream)
            raise
        finally:
            if second_chance is not None:
                second_chance.cancel()

    def release(self, upstream: Upstream) -> None:
        """Ends one lease; the place goes to whoever is first in line."""
        upstream.in_flight -= 1
        if upstream.awaited and upstream.in_flight == 0:
            upstream.idle.set()
        if self._line:
            self._serve_line()

    def failed(self, upstream: Upstream) -> None:
        """The replica itself failed a request; for a while that counts as a request that it holds."""
        now = self._clock()
        upstream.failures = 1.0 + decayed(upstream.failures, now - upstream.failed_at)
        upstream.failed_at = now

    def _nobody(self, what: str) -> NobodyReady:
        why = "every replica works on as many requests as it may" if self._order else "no replica is ready"
        return NobodyReady(f"{why}, {what}", retry_after=retry_after(self._limits, self._jitter()))

    def _forgive(self, waiter: Waiter) -> None:
        waiter.tried = frozenset()
        self._serve_line()

    def _left_line(self, waiter: Waiter) -> Upstream | None:
        """What the waiter was given in the very turn in which it left, if anything."""
        if waiter.future.done() and not waiter.future.cancelled():
            return waiter.future.result()
        waiter.future.cancel()
        with contextlib.suppress(ValueError):
            self._line.remove(waiter)
        return None

    def _serve_line(self) -> None:
        """Gives what is present to whoever may have it, in order; one that may not does not hold up those behind."""
        for waiter in tuple(self._line):
            if waiter.future.done():
                continue  # cancelled in this very turn; it leaves the line by itself
            upstream = self.take(waiter.tried)
            if upstream is not None:
                self._line.remove(waiter)
                waiter.future.set_result(upstream)
            elif not waiter.tried:
                return  # there is nothing for anybody

    def _place(self, upstream: Upstream) -> None:
        """Puts it where its slot's turn is; one of a slot that is being replaced comes behind the one that leaves."""
        self._order.append(upstream)
        self._order.sort(key=lambda each: (each.slot, each.replica))

    def _displace(self, upstream: Upstream) -> None:
        upstream.leaving = True
        if upstream in self._order:
            self._order.remove(upstream)
            self._serve_line()  # where only suspects are left, they count again
