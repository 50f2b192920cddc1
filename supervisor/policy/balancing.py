"""Which of several replicas gets the next request, or that none may. Pure.

One pass over the candidates, and nothing built on the way: this happens with every request. Candidates come in the
order of their slots. For all policies alike: a suspect is chosen only when all are suspect; nobody gets more than
`max_in_flight`; and a newcomer is spared while there is somebody who has served for longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

NOBODY = -1

LEAST_WEIGHT = 0.1
"""What a replica that has just become ready is given, in parts of a full share."""

HALF_LIFE = 5.0
"""Seconds in which half of a failure is forgotten."""

_MASK = 0xFFFFFFFF


class Candidate(Protocol):
    """What a choice may depend on. Moments are on the clock of `Asking.now`.

    `failures` is what it failed by itself lately, as it stood at `failed_at`: each counts as a request in flight, for
    an instantly failing replica would look idle. `chosen` is greater the later it was chosen; 0: it never was.
    """

    @property
    def slot(self) -> int: ...
    @property
    def replica(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def suspect(self) -> bool: ...
    @property
    def ready_at(self) -> float: ...
    @property
    def failures(self) -> float: ...
    @property
    def failed_at(self) -> float: ...
    @property
    def chosen(self) -> int: ...


@dataclass(frozen=True, slots=True)
class BalancingRules:
    """`slow_start` in seconds, 0 for none; `max_in_flight` in requests for each replica."""

    slow_start: float = 0.0
    max_in_flight: float = math.inf


@dataclass(slots=True)
class Asking:
    """The circumstances of one choice; its owner changes it from one to the next.

    `cursor` is the slot last chosen, so that the turn survives replicas that come and go. `turn` counts choices.
    `newcomers` may be false only when everybody has served for longer than `slow_start`. `tried` are replicas that
    this request must not get.
    """

    cursor: int = -1
    turn: int = 0
    now: float = 0.0
    newcomers: bool = False
    tried: frozenset[int] = frozenset()


Choose = Callable[[Sequence[Candidate], Asking, BalancingRules], int]
"""The chosen one's index, or NOBODY."""


def round_robin(candidates: Sequence[Candidate], asking: Asking, rules: BalancingRules) -> int:
    """The first whose slot comes after the cursor, around. A newcomer lets some of its turns pass."""
    cursor, tried, limit = asking.cursor, asking.tried, rules.max_in_flight
    sparing = asking.newcomers and _somebody_is_settled(candidates, asking, rules)
    best, best_rank, well = NOBODY, 4, False
    for index, candidate in enumerate(candidates):
        if candidate.replica in tried:
            continue
        if candidate.suspect:
            if well:
                continue
        elif not well:
            best, best_rank, well = NOBODY, 4, True
        if candidate.in_flight >= limit:
            continue
        rank = 1 if candidate.slot <= cursor else 0
        if sparing and not _takes_its_turn(candidate, asking, rules):
            rank += 2
        if rank < best_rank:
            if rank == 0 and well:
                return index
            best, best_rank = index, rank
    return best


def least_outstanding(candidates: Sequence[Candidate], asking: Asking, rules: BalancingRules) -> int:
    """The one with the fewest requests in flight, failures included; among equals, the one that was chosen last.

    What that one needs is still in the processor's caches: going around three idle LiteLLMs costs a fifth more, or two.
    """
    tried, limit, now = asking.tried, rules.max_in_flight, asking.now
    sparing = asking.newcomers and _somebody_is_settled(candidates, asking, rules)
    best, best_load, best_chosen, well = NOBODY, math.inf, -1, False
    for index, candidate in enumerate(candidates):
        if candidate.replica in tried:
            continue
        if candidate.suspect:
            if well:
                continue
        elif not well:
            best, best_load, best_chosen, well = NOBODY, math.inf, -1, True
        if candidate.in_flight >= limit:
            continue
        load: float = candidate.in_flight + 1
        if candidate.failures:
            load += decayed(candidate.failures, now - candidate.failed_at)
        if sparing:
            load /= weight(now - candidate.ready_at, rules.slow_start)
        if load < best_load or (load == best_load and candidate.chosen > best_chosen):
            best, best_load, best_chosen = index, load, candidate.chosen
    return best


def weight(age: float, slow_start: float) -> float:
    """The share of a replica that has been ready for `age` seconds, from LEAST_WEIGHT to 1."""
    if age >= slow_start:
        return 1.0
    return max(LEAST_WEIGHT, age / slow_start)


def decayed(failures: float, seconds: float) -> float:
    """What is left of failures after so many seconds."""
    return failures * math.exp2(-seconds / HALF_LIFE)


def _somebody_is_settled(candidates: Sequence[Candidate], asking: Asking, rules: BalancingRules) -> bool:
    """Where all are new there is nobody to spare them, and after a start of the whole pool all are alike."""
    since = asking.now - rules.slow_start
    for candidate in candidates:
        if candidate.ready_at <= since and not candidate.suspect and candidate.replica not in asking.tried:
            return True
    return False


def _takes_its_turn(candidate: Candidate, asking: Asking, rules: BalancingRules) -> bool:
    share = weight(asking.now - candidate.ready_at, rules.slow_start)
    return share >= 1.0 or _draw(asking.turn * 257 + candidate.slot) < share


def _draw(number: int) -> float:
    """From 0 to 1, the same for the same number.

    Mixed well, because a turn that is not taken moves the next one: an even sequence would fall into step with that.
    """
    mixed = number * 0x9E3779B1 & _MASK
    mixed = (mixed ^ mixed >> 15) * 0x85EBCA77 & _MASK
    mixed = (mixed ^ mixed >> 13) * 0xC2B2AE3D & _MASK
    return (mixed ^ mixed >> 16) / (_MASK + 1)
