"""The life of a replica is a table, and the table is complete."""

from __future__ import annotations

import itertools

import pytest

from supervisor.policy.lifecycle import (
    IGNORED,
    LIVE,
    SERVING,
    TRANSITIONS,
    Happening,
    IllegalTransition,
    State,
    advance,
)

EVERY_PAIR = list(itertools.product(State, Happening))

BUGS = {
    # Only a replica that has not answered can answer for the first time, and only one that warms up can be warm.
    (State.STARTING, Happening.WARMED),
    (State.WARMING, Happening.ANSWERED),
    (State.READY, Happening.ANSWERED),
    (State.READY, Happening.WARMED),
    (State.SUSPECT, Happening.ANSWERED),
    (State.SUSPECT, Happening.WARMED),
    (State.DRAINING, Happening.ANSWERED),
    (State.DRAINING, Happening.WARMED),
    # Probes begin when the warm-up is over.
    (State.STARTING, Happening.PROBE_ANSWERED),
    (State.STARTING, Happening.PROBE_MISSED),
    (State.WARMING, Happening.PROBE_ANSWERED),
    (State.WARMING, Happening.PROBE_MISSED),
    # Nobody drains who was not told to leave.
    (State.STARTING, Happening.DRAINED),
    (State.WARMING, Happening.DRAINED),
    (State.READY, Happening.DRAINED),
    (State.SUSPECT, Happening.DRAINED),
    # It ends once.
    (State.EXITED, Happening.EXITED),
}


def test_every_pair_is_a_transition_or_ignored_or_a_bug() -> None:
    for pair in EVERY_PAIR:
        places = [pair in TRANSITIONS, pair in IGNORED, pair in BUGS]
        assert places.count(True) == 1, pair


@pytest.mark.parametrize(("state", "happening"), sorted(BUGS, key=str))
def test_a_bug_is_reported_and_named(state: State, happening: Happening) -> None:
    with pytest.raises(IllegalTransition, match=happening.value):
        advance(state, happening)


@pytest.mark.parametrize(("state", "happening"), sorted(IGNORED, key=str))
def test_what_is_ignored_changes_nothing(state: State, happening: Happening) -> None:
    assert advance(state, happening) is state


def test_the_whole_life_of_a_replica_that_is_replaced() -> None:
    state = State.STARTING
    for happening in (
        Happening.ANSWERED,
        Happening.WARMED,
        Happening.PROBE_MISSED,
        Happening.PROBE_ANSWERED,
        Happening.LEAVE,
        Happening.DRAINED,
        Happening.EXITED,
    ):
        state = advance(state, happening)
    assert state is State.EXITED


def test_no_replica_comes_back_from_its_exit() -> None:
    assert not [pair for pair in TRANSITIONS if pair[0] is State.EXITED]


def test_only_live_replicas_serve() -> None:
    assert SERVING < LIVE
