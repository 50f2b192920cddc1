"""Who is worn out, and whether there is room for its replacement beside it."""

from __future__ import annotations

import dataclasses

import pytest

from supervisor.policy.lifecycle import State
from supervisor.policy.recycling import NEWCOMER, YOUNG, Limits, Recycling, Wear, is_the_moment, next_recycling
from supervisor.policy.rollout import ReplicaView

MB = 2**20
FRESH = Wear(replica=1, private_memory=50 * MB, requests=10, age=3600.0, luck=0.0)
PLENTY = 8 * 2**30


def wear(**changes: object) -> Wear:
    return dataclasses.replace(FRESH, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limits", "who", "reason"),
    [
        (Limits(), wear(private_memory=9000 * MB, requests=10**9, age=1e9), None),
        (Limits(private_memory=100 * MB), wear(private_memory=99 * MB), None),
        (Limits(private_memory=100 * MB), wear(private_memory=100 * MB), "100 MiB of private memory"),
        (Limits(private_memory=100 * MB), wear(private_memory=None), None),
        (Limits(private_memory=100 * MB), wear(private_memory=900 * MB, age=YOUNG - 1), None),
        (Limits(requests=100), wear(requests=99), None),
        (Limits(requests=100), wear(requests=100), "100 requests"),
        (Limits(age=60.0), wear(age=59.0), None),
        (Limits(age=60.0), wear(age=61.0), "61 s of age"),
    ],
)
def test_a_replica_is_worn_out_at_its_limit_and_not_before(limits: Limits, who: Wear, reason: str | None):
    step = next_recycling([who], limits, available=PLENTY)
    assert step == (None if reason is None else Recycling(1, reason, surge=True))


def test_those_that_started_together_are_not_worn_out_together():
    limits = Limits(requests=1000, jitter=0.2)
    lucky, unlucky = wear(requests=850, luck=0.0), wear(replica=2, requests=850, luck=1.0)
    assert next_recycling([lucky], limits, available=PLENTY) is None
    step = next_recycling([lucky, unlucky], limits, available=PLENTY)
    assert step is not None
    assert step.replica == 2


def test_the_most_worn_goes_first_whatever_wore_it():
    limits = Limits(private_memory=100 * MB, requests=100)
    step = next_recycling([wear(requests=150), wear(replica=2, private_memory=300 * MB)], limits, available=PLENTY)
    assert step == Recycling(2, "300 MiB of private memory", surge=True)


@pytest.mark.parametrize(("available", "surge"), [(None, True), (50 * MB, True), (50 * MB - 1, False), (0, False)])
def test_without_room_for_one_more_the_old_one_goes_first(available: int | None, surge: bool):
    limits = Limits(private_memory=100 * MB)
    step = next_recycling([FRESH, wear(replica=2, private_memory=300 * MB)], limits, available=available)
    assert step is not None
    assert step.surge is surge


def test_where_nobody_was_measured_a_replacement_is_taken_to_need_something():
    limits = Limits(requests=1)
    who = wear(private_memory=None)
    assert next_recycling([who], limits, available=NEWCOMER) == Recycling(1, "10 requests", surge=True)
    assert next_recycling([who], limits, available=NEWCOMER - 1) == Recycling(1, "10 requests", surge=False)


def views(*states: State) -> list[ReplicaView]:
    """Replica 1 and those behind it, each in a slot of its own."""
    return [ReplicaView(number, number, "a", state, 0.0) for number, state in enumerate(states, 1)]


READY, SUSPECT, STARTING, DRAINING = State.READY, State.SUSPECT, State.STARTING, State.DRAINING


@pytest.mark.parametrize(
    ("states", "count", "busy", "it_is"),
    [
        ((READY, READY), 2, False, True),
        ((SUSPECT, READY), 2, False, True),
        ((READY, READY, DRAINING), 2, False, True),
        ((READY, READY), 2, True, False),
        ((READY,), 2, False, False),
        ((READY, STARTING), 2, False, False),
        ((READY, READY, STARTING), 2, False, False),
        ((READY, READY, READY), 2, False, False),
        ((DRAINING, READY, READY), 2, False, False),
        ((), 1, False, False),
    ],
)
def test_it_is_the_moment_when_all_that_is_wanted_serves_and_nothing_else_goes_on(
    states: tuple[State, ...], count: int, busy: bool, it_is: bool
):
    assert is_the_moment(1, views(*states), count=count, busy=busy) is it_is
