"""Which replica is worn out, and whether its replacement may be started before it goes. Pure.

A replica is worn by its private memory, by the requests that it has served, or by its age. Private memory (USS),
because what is shared with the fork server and the siblings moves with them and not with what the replica does. Each
limit is drawn a little lower for each replica, so that those that started together are not worn out together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from supervisor.policy.lifecycle import LIVE, SERVING
from supervisor.policy.rollout import ReplicaView

NEWCOMER = 128 * 2**20
"""Bytes that a replacement is taken to need where no replica has been measured."""

YOUNG = 60.0
"""Seconds in which nobody is too large: what is over the limit that early will be again, and again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """None: no limit. `private_memory` is in bytes, `age` in seconds, `jitter` the largest share taken off a limit."""

    private_memory: int | None = None
    requests: int | None = None
    age: float | None = None
    jitter: float = 0.1

    @property
    def any(self) -> bool:
        return not (self.private_memory is None and self.requests is None and self.age is None)


@dataclass(frozen=True, slots=True)
class Wear:
    """One serving replica. `age` counts from READY; `luck`, from 0 to 1, is drawn once for each replica."""

    replica: int
    private_memory: int | None
    requests: int
    age: float
    luck: float


@dataclass(frozen=True, slots=True)
class Recycling:
    """Exchange this replica. Without `surge` it has to go first, because there is no room for both."""

    replica: int
    reason: str
    surge: bool


def next_recycling(wears: Sequence[Wear], limits: Limits, *, available: int | None) -> Recycling | None:
    """The one to be exchanged now: the most worn of those that are. `available` is memory that may still be taken."""
    worn = [(share, wear, reason) for wear in wears for share, reason in _overruns(wear, limits)]
    if not worn:
        return None
    _, wear, reason = max(worn, key=lambda entry: entry[0])
    return Recycling(wear.replica, reason, surge=available is None or available >= _newcomer(wears))


def is_the_moment(replica: int, views: Sequence[ReplicaView], *, count: int, busy: bool) -> bool:
    """Whether it may be exchanged now: all that is wanted serves, it among them, and nothing is on its way in.

    `busy`: a roll-out is under way, or something waits to be exchanged.
    """
    live = [view for view in views if view.state in LIVE]
    serving = {view.replica for view in live if view.state in SERVING}
    return not busy and replica in serving and len(serving) == len(live) == count


def _overruns(wear: Wear, limits: Limits) -> Iterable[tuple[float, str]]:
    """How far beyond its limits it is (1.0: exactly there), and how to say so."""
    lowered = 1.0 - limits.jitter * wear.luck
    if limits.private_memory is not None and wear.private_memory is not None and wear.age >= YOUNG:
        share = wear.private_memory / (limits.private_memory * lowered)
        if share >= 1.0:
            yield share, f"{wear.private_memory / 2**20:.0f} MiB of private memory"
    if limits.requests is not None and wear.requests >= limits.requests * lowered:
        yield wear.requests / (limits.requests * lowered), f"{wear.requests} requests"
    if limits.age is not None and wear.age >= limits.age * lowered:
        yield wear.age / (limits.age * lowered), f"{wear.age:.0f} s of age"


def _newcomer(wears: Sequence[Wear]) -> int:
    """What a replacement will take: as much as the smallest that serves."""
    return min((wear.private_memory for wear in wears if wear.private_memory is not None), default=NEWCOMER)
