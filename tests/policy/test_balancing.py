"""Whose turn it is."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from supervisor.policy.balancing import Candidate, least_outstanding, round_robin


def candidates(*in_flight: int) -> list[Candidate]:
    return [Candidate(slot=slot, replica=100 + slot, in_flight=count) for slot, count in enumerate(in_flight)]


def test_each_slot_has_its_turn_in_order():
    cursor, chosen = -1, []
    for _ in range(7):
        index, cursor = round_robin(candidates(0, 0, 0), cursor)
        chosen.append(index)
    assert chosen == [0, 1, 2, 0, 1, 2, 0]


def test_the_turn_survives_a_replica_that_leaves_and_one_that_comes():
    _, cursor = round_robin(candidates(0, 0, 0), 0)  # slot 1
    index, cursor = round_robin([Candidate(0, 1, 0), Candidate(2, 3, 0)], cursor)
    assert (index, cursor) == (1, 2)
    index, cursor = round_robin(candidates(0, 0, 0, 0), cursor)
    assert cursor == 3


def test_the_order_in_which_replicas_were_added_does_not_matter():
    backwards = list(reversed(candidates(0, 0, 0)))
    cursor, slots = -1, []
    for _ in range(3):
        index, cursor = round_robin(backwards, cursor)
        slots.append(backwards[index].slot)
    assert slots == [0, 1, 2]


def test_two_replicas_of_one_slot_share_its_turn_only_as_long_as_they_overlap():
    surge = [Candidate(0, 1, 0), Candidate(0, 9, 0), Candidate(1, 2, 0)]
    index, cursor = round_robin(surge, -1)
    assert (surge[index].slot, cursor) == (0, 0)
    index, cursor = round_robin(surge, cursor)
    assert surge[index].slot == 1


def test_the_least_busy_is_chosen_and_ties_take_turns():
    assert least_outstanding(candidates(2, 1, 3), -1)[0] == 1
    cursor, chosen = -1, []
    for _ in range(4):
        index, cursor = least_outstanding(candidates(1, 5, 1), cursor)
        chosen.append(index)
    assert chosen == [0, 2, 0, 2]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(-1, 10))
def test_a_candidate_is_always_chosen_and_a_full_round_is_fair(loads, cursor):
    pool = candidates(*loads)
    index, _ = least_outstanding(pool, cursor)
    assert loads[index] == min(loads)
    seen: Counter[int] = Counter()
    for _ in range(3 * len(pool)):
        index, cursor = round_robin(pool, cursor)
        seen[index] += 1
    assert set(seen.values()) == {3}
