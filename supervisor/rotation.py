"""The seam between fleet and balancer: which replicas take requests now, and how many each one holds.

The fleet adds, marks and removes upstreams; the balancer leases them. Neither knows the other. Everything happens in
one event loop and no method awaits between reading and acting, except `lease` and `wait_idle`, which only wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from supervisor.errors import NobodyReady
from supervisor.policy.balancing import Candidate, Choose
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
    last_byte_at: float = float("-inf")  # when a byte of a response was last relayed from it, monotonic
    unanswered: set[Unanswered] = dataclasses.field(default_factory=set, repr=False)
    idle: asyncio.Event = dataclasses.field(default_factory=asyncio.Event, repr=False)


@dataclass(slots=True, eq=False)
class Waiter:
    """One request in line, and the replicas that it must not get."""

    future: asyncio.Future[Upstream]
    tried: frozenset[int]


SECOND_CHANCE = 1.0
"""Seconds after which a request that was refused by every replica present may get one of them again.

By then a dead one is replaced; one that merely could not take a connection at that moment deserves another try.
"""


class Rotation:
    """The upstreams in rotation and the line in front of them.

    `choose` is the balancing policy. A suspect upstream is chosen only when all are suspect: a pool in which everybody
    is suspect has a problem that ejecting does not solve.
    """

    def __init__(self, choose: Choose, limits: QueueLimits) -> None:
        self._choose = choose
        self._limits = limits
        self._upstreams: dict[int, Upstream] = {}
        self._line: deque[Waiter] = deque()
        self._cursor = -1
        self._left: list[Callable[[Upstream], None]] = []
        self._key_headers: frozenset[str] = frozenset()

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
        return sum(1 for upstream in self._upstreams.values() if not upstream.leaving)

    @property
    def key_headers(self) -> frozenset[str]:
        """Every header, in lower case, in which a replica has looked for a key so far."""
        return self._key_headers

    def on_removed(self, listener: Callable[[Upstream], None]) -> None:
        """Calls `listener` with each upstream that is removed, so that pooled connections to it can be closed."""
        self._left.append(listener)

    # The fleet's side.

    def add(self, upstream: Upstream) -> None:
        """Puts a ready replica into rotation; requests in line get it at once."""
        upstream.idle.set()
        self._upstreams[upstream.replica] = upstream
        self._key_headers |= {upstream.key_header.lower()}
        self._serve_line()

    def set_suspect(self, replica: int, suspect: bool) -> None:
        upstream = self._upstreams.get(replica)
        if upstream is not None:
            upstream.suspect = suspect
            self._serve_line()

    def give_up(self, replica: int) -> None:
        """What waits there for the first byte of an answer may go elsewhere, if there is anybody better."""
        upstream = self._upstreams.get(replica)
        if upstream is not None and any(not other.suspect and not other.leaving for other in self._upstreams.values()):
            for request in tuple(upstream.unanswered):
                request.give_up()

    def drain(self, replica: int) -> None:
        """Gives it no new request; what it holds goes on. Does nothing for one that is not in rotation."""
        upstream = self._upstreams.get(replica)
        if upstream is not None:
            upstream.leaving = True

    def remove(self, replica: int) -> None:
        """Takes it out for good. Does nothing the second time."""
        upstream = self._upstreams.pop(replica, None)
        if upstream is not None:
            upstream.leaving = True
            upstream.idle.set()
            for listener in self._left:
                listener(upstream)

    def get(self, replica: int) -> Upstream | None:
        return self._upstreams.get(replica)

    async def wait_idle(self, replica: int) -> None:
        """Returns when nothing is in flight on it, or when it is gone. Deadlines are the caller's."""
        upstream = self._upstreams.get(replica)
        while upstream is not None and upstream.in_flight and replica in self._upstreams:
            await upstream.idle.wait()

    # The balancer's side.

    async def lease(self, tried: frozenset[int] = frozenset(), *, timeout: float | None = None) -> Upstream:  # noqa: ASYNC109
        """An upstream for one request, in the order of asking; give it back with `release`.

        `tried` are replicas that this request must not get again, unless no other appears within SECOND_CHANCE.
        `timeout` shortens the wait in line, for a request that has waited before. Raises NobodyReady when the line is
        full or the wait in it is too long.
        """
        # Whoever stands in line cannot be served by what is present, so nobody is overtaken here.
        upstream = self._pick(tried)
        if upstream is not None:
            return self._taken(upstream)
        limit = self._limits.timeout if timeout is None else min(timeout, self._limits.timeout)
        if len(self._line) >= self._limits.size:
            raise NobodyReady("no replica is ready and the queue is full", retry_after=retry_after(self._limits))
        loop = asyncio.get_running_loop()
        waiter = Waiter(loop.create_future(), tried)
        self._line.append(waiter)
        second_chance = loop.call_later(SECOND_CHANCE, self._forgive, waiter) if tried else None
        try:
            async with asyncio.timeout(limit):
                return await waiter.future
        except TimeoutError:
            upstream = self._left_line(waiter)
            if upstream is not None:
                return upstream
            raise NobodyReady(
                f"no replica became ready within {self._limits.timeout:g} s", retry_after=retry_after(self._limits)
            ) from None
        except asyncio.CancelledError:
            upstream = self._left_line(waiter)
            if upstream is not None:
                self.release(upstream)
            raise
        finally:
            if second_chance is not None:
                second_chance.cancel()

    def release(self, upstream: Upstream) -> None:
        """Ends one lease."""
        upstream.in_flight -= 1
        if upstream.in_flight == 0:
            upstream.idle.set()

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
        if not self.available:
            return
        for waiter in tuple(self._line):
            if waiter.future.done():
                continue  # cancelled in this very turn; it leaves the line by itself
            upstream = self._pick(waiter.tried)
            if upstream is not None:
                self._line.remove(waiter)
                waiter.future.set_result(self._taken(upstream))

    def _pick(self, tried: frozenset[int]) -> Upstream | None:
        present = [upstream for upstream in self._upstreams.values() if not upstream.leaving]
        fresh = [upstream for upstream in present if upstream.replica not in tried]
        healthy = [upstream for upstream in fresh if not upstream.suspect] or fresh
        if not healthy:
            return None
        candidates = [Candidate(slot=u.slot, replica=u.replica, in_flight=u.in_flight) for u in healthy]
        index, self._cursor = self._choose(candidates, self._cursor)
        return healthy[index]

    def _taken(self, upstream: Upstream) -> Upstream:
        upstream.in_flight += 1
        upstream.served += 1
        upstream.idle.clear()
        return upstream
