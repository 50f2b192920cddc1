"""Whose turn it is."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.policy.balancing import (
    HALF_LIFE,
    LEAST_WEIGHT,
    NOBODY,
    Asking,
    BalancingRules,
    Choose,
    decayed,
    least_outstanding,
    round_robin,
    weight,
)

POLICIES = [round_robin, least_outstanding]
PLAIN = BalancingRules()


@dataclass
class One:
    """A candidate."""

    slot: int
    in_flight: int = 0
    suspect: bool = False
    ready_at: float = -math.inf
    failures: float = 0.0
    failed_at: float = 0.0
    replica: int = 0
    chosen: int = 0

    def __post_init__(self) -> None:
        self.replica = self.replica or 100 + self.slot


def pool(*in_flight: int) -> list[One]:
    return [One(slot, count) for slot, count in enumerate(in_flight)]


def choose(policy: Choose, candidates: Sequence[One], asking: Asking, rules: BalancingRules = PLAIN) -> int:
    """The slot chosen, with the turn passed on as the rotation does."""
    index = policy(candidates, asking, rules)
    if index == NOBODY:
        return NOBODY
    asking.cursor = candidates[index].slot
    asking.turn += 1
    candidates[index].chosen = asking.turn
    return candidates[index].slot


def slots(policy: Choose, candidates: Sequence[One], times: int, rules: BalancingRules = PLAIN) -> list[int]:
    asking = Asking()
    return [choose(policy, candidates, asking, rules) for _ in range(times)]


def test_each_slot_has_its_turn_in_order() -> None:
    assert slots(round_robin, pool(0, 0, 0), 7) == [0, 1, 2, 0, 1, 2, 0]


def test_the_turn_survives_a_replica_that_leaves_and_one_that_comes() -> None:
    asking = Asking(cursor=1)
    assert choose(round_robin, [One(0), One(2)], asking) == 2
    assert choose(round_robin, pool(0, 0, 0, 0), asking) == 3
    assert choose(round_robin, pool(0, 0, 0, 0), asking) == 0


def test_two_replicas_of_one_slot_share_its_turn_only_as_long_as_they_overlap() -> None:
    assert slots(round_robin, [One(0, replica=1), One(0, replica=9), One(1, replica=2)], 4) == [0, 1, 0, 1]


def test_the_least_busy_is_chosen_whoever_was_chosen_last() -> None:
    assert slots(least_outstanding, pool(2, 1, 3), 1) == [1]
    assert slots(least_outstanding, [One(0, 1, chosen=9), One(1, 0, chosen=2), One(2, 1, chosen=8)], 1) == [1]


def test_of_the_least_busy_the_one_that_was_chosen_last_is_chosen_again() -> None:
    """One client, whose requests come one by one, stays with one replica."""
    assert slots(least_outstanding, pool(0, 0, 0), 4) == [0, 0, 0, 0]
    candidates, asking = [One(0, chosen=3), One(1, chosen=7), One(2, 1, chosen=9)], Asking(turn=9)
    assert [choose(least_outstanding, candidates, asking) for _ in range(4)] == [1, 1, 1, 1]


def test_as_many_replicas_work_as_there_are_requests_at_a_time() -> None:
    """Two at a time keep two replicas warm, whichever of them ends first, and the third waits for a third."""
    candidates, asking = pool(0, 0, 0), Asking()
    for ends in (0, 1, 1, 0, 0, 0, 1):
        while sum(one.in_flight for one in candidates) < 2:
            candidates[choose(least_outstanding, candidates, asking)].in_flight += 1
        assert [one.in_flight for one in candidates] == [1, 1, 0]
        candidates[ends].in_flight -= 1
    for one in candidates[:2]:
        one.in_flight = 1
    assert choose(least_outstanding, candidates, asking) == 2


@pytest.mark.parametrize("policy", POLICIES)
def test_a_suspect_is_chosen_only_when_all_are(policy: Choose) -> None:
    assert set(slots(policy, [One(0, suspect=True), One(1, 50), One(2, suspect=True)], 5)) == {1}
    assert set(slots(policy, [One(0, suspect=True, chosen=9), One(1), One(2, suspect=True)], 5)) == {1}
    assert slots(round_robin, [One(0, suspect=True), One(1, suspect=True)], 4) == [0, 1, 0, 1]
    assert slots(least_outstanding, [One(0, 1, suspect=True), One(1, suspect=True)], 4) == [1, 1, 1, 1]


@pytest.mark.parametrize("policy", POLICIES)
def test_one_that_was_tried_is_not_chosen_and_does_not_speak_for_those_that_are_left(policy: Choose) -> None:
    asking = Asking(tried=frozenset({100}))
    candidates = [One(0), One(1, suspect=True)]
    assert [choose(policy, candidates, asking) for _ in range(3)] == [1, 1, 1]
    asking.tried = frozenset({100, 101})
    assert choose(policy, candidates, asking) == NOBODY


@pytest.mark.parametrize("policy", POLICIES)
def test_nobody_gets_more_than_the_limit_and_a_full_one_is_no_reason_to_take_a_suspect(policy: Choose) -> None:
    rules = BalancingRules(max_in_flight=2)
    assert slots(policy, pool(2, 1, 2), 3, rules) == [1, 1, 1]
    assert slots(policy, pool(2, 2, 3), 1, rules) == [NOBODY]
    assert slots(policy, [One(0, 2), One(1, suspect=True)], 1, rules) == [NOBODY]
    assert slots(policy, [One(0, 2, suspect=True), One(1, 1, suspect=True)], 1, rules) == [1]


@pytest.mark.parametrize("policy", POLICIES)
def test_nobody_is_chosen_from_nobody(policy: Choose) -> None:
    assert slots(policy, [], 1) == [NOBODY]


# Newcomers.


def shares(policy: Choose, candidates: list[One], now: float, *, held: bool = False) -> Counter[int]:
    """How often each slot is chosen in 3000 turns. `held`: what is given is kept, so that load grows."""
    rules = BalancingRules(slow_start=10.0)
    asking = Asking(now=now, newcomers=True)
    seen: Counter[int] = Counter()
    for _ in range(3000):
        slot = choose(policy, candidates, asking, rules)
        seen[slot] += 1
        if held:
            candidates[slot].in_flight += 1
    return seen


@pytest.mark.parametrize(("age", "share"), [(0.0, 0.1), (2.0, 0.2), (5.0, 0.5), (9.0, 0.9), (10.0, 1.0), (99.0, 1.0)])
def test_a_newcomer_takes_the_part_of_its_turns_that_its_age_allows(age: float, share: float) -> None:
    seen = shares(round_robin, [One(0), One(1), One(2, ready_at=1000.0 - age)], now=1000.0)
    assert seen[2] / seen[1] == pytest.approx(share, rel=0.25)
    assert seen[0] == pytest.approx(seen[1], rel=0.15)


@pytest.mark.parametrize(("age", "share"), [(0.0, 0.1), (5.0, 0.5), (10.0, 1.0)])
def test_by_load_a_newcomer_holds_the_part_that_its_age_allows(age: float, share: float) -> None:
    seen = shares(least_outstanding, [One(0), One(1), One(2, ready_at=1000.0 - age)], now=1000.0, held=True)
    assert seen[2] / seen[0] == pytest.approx(share, rel=0.1)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_newcomer_is_not_spared_where_there_is_nobody_to_spare_it(policy: Choose) -> None:
    new = 1000.0
    assert shares(policy, [One(0, ready_at=new)], new)[0] == 3000
    assert shares(policy, [One(0, ready_at=new), One(1, suspect=True)], new)[0] == 3000
    together = [One(0, ready_at=new), One(1, ready_at=new - 2.0), One(2, ready_at=new)]
    assert shares(policy, together, new, held=True) == {0: 1000, 1: 1000, 2: 1000}
    full = [One(0, 1), One(1, ready_at=new)]
    asking = Asking(now=new, newcomers=True)
    assert choose(policy, full, asking, BalancingRules(slow_start=10.0, max_in_flight=1)) == 1


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_share_is_never_nothing_and_never_more_than_a_full_one(age: float, slow_start: float) -> None:
    assert LEAST_WEIGHT <= weight(age, slow_start) <= 1.0


# Failures.


def test_one_that_fails_at_once_does_not_attract_what_it_cannot_serve() -> None:
    """Two that hold what they are given, and one that fails it in no time: by requests in flight alone it gets all."""
    candidates = pool(5, 5, 0)
    asking = Asking(now=100.0)
    failed = 0
    for _ in range(200):
        slot = choose(least_outstanding, candidates, asking)
        if slot == 2:
            failed += 1
            bad = candidates[2]
            bad.failures = 1.0 + decayed(bad.failures, asking.now - bad.failed_at)
            bad.failed_at = asking.now
        asking.now += 0.01
    assert failed <= 10


def test_failures_are_forgotten() -> None:
    assert decayed(8.0, 0.0) == 8.0
    assert decayed(8.0, HALF_LIFE) == pytest.approx(4.0)
    assert decayed(8.0, 20 * HALF_LIFE) < 0.001
    assert decayed(8.0, 1e9) == 0.0
    old = [One(0, failures=50.0, failed_at=0.0), One(1, 1)]
    assert least_outstanding(old, Asking(now=100 * HALF_LIFE), PLAIN) == 0


@given(
    st.lists(
        st.builds(One, st.integers(0, 5), st.integers(0, 4), st.booleans(), st.floats(0, 20), st.floats(0, 9)),
        max_size=8,
    ),
    st.integers(-1, 6),
    st.integers(0, 1000),
    st.booleans(),
    st.frozensets(st.integers(100, 105)),
    st.integers(1, 5),
)
def test_whatever_the_circumstances_who_is_chosen_may_be(
    candidates: list[One], cursor: int, turn: int, newcomers: bool, tried: frozenset[int], limit: int
) -> None:
    candidates.sort(key=lambda one: one.slot)
    before = [dataclasses.astuple(one) for one in candidates]
    asking = Asking(cursor=cursor, turn=turn, now=20.0, newcomers=newcomers, tried=tried)
    rules = BalancingRules(slow_start=10.0, max_in_flight=limit)
    for policy in POLICIES:
        index = policy(candidates, asking, rules)
        fresh = [one for one in candidates if one.replica not in tried]
        eligible = [one for one in fresh if not one.suspect] or fresh
        free = [one for one in eligible if one.in_flight < limit]
        assert (index == NOBODY) == (not free)
        assert index == NOBODY or candidates[index] in free
    assert before == [dataclasses.astuple(one) for one in candidates]
