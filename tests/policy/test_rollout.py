"""Single decisions of the planner; what they add up to is in tests/fleet, where histories are played."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from supervisor.policy.lifecycle import State
from supervisor.policy.restart import RestartRules, SlotRecord
from supervisor.policy.rollout import (
    TRIAL_FAILURES,
    Action,
    FailTrial,
    Kill,
    Leave,
    PassTrial,
    ReplicaView,
    Rules,
    Spawn,
    Trial,
    World,
    plan,
)

RULES = Rules(settle=2.0, start_timeout=30.0, restart=RestartRules())
NOW = 100.0
WAITS = SlotRecord(failures=9, last_exit_at=NOW)  # its backoff has just begun


def ready(replica: int, slot: int, generation: str = "old", since: float = 50.0) -> ReplicaView:
    return ReplicaView(replica, slot, generation, State.READY, since, since)


def starting(replica: int, slot: int, generation: str = "old", since: float = NOW) -> ReplicaView:
    return ReplicaView(replica, slot, generation, State.STARTING, since)


def actions(
    *replicas: ReplicaView,
    count: int = 3,
    generation: str = "old",
    trial: Trial | None = None,
    waiting: Sequence[int] = (),
    loading: bool = False,
    unloadable: str = "",
) -> tuple[Action, ...]:
    slots = dict.fromkeys(waiting, WAITS)
    world = World(count, generation, replicas, slots, trial, loading=loading, unloadable=unloadable)
    return plan(world, now=NOW, rules=RULES).actions


OLD = (ready(1, 1), ready(2, 2), ready(3, 3))
TRIAL = Trial("new", "old", canary=9)


def on_trial(*replicas: ReplicaView, trial: Trial = TRIAL, **rest: object) -> tuple[Action, ...]:
    return actions(*replicas, generation="new", trial=trial, **rest)  # type: ignore[arg-type]


def test_a_canary_that_is_not_there_any_more_has_exited() -> None:
    assert on_trial(*OLD) == (FailTrial("its first replica exited"),)


def test_a_canary_that_missed_a_probe_fails_even_when_its_time_is_over() -> None:
    doubted = ReplicaView(9, 1, "new", State.READY, 50.0, 60.0, doubted=True)
    assert on_trial(*OLD, doubted) == (FailTrial("its first replica missed a probe"),)


@pytest.mark.parametrize(("stood", "expected"), [(1.9, ()), (2.0, (PassTrial(),))], ids=["before", "after"])
def test_a_canary_has_to_stand_for_the_settle_time(stood: float, expected: tuple[Action, ...]) -> None:
    assert on_trial(*OLD, ready(9, 1, "new", NOW - stood)) == expected


def test_there_is_no_second_canary_not_even_when_its_slot_lost_the_old_replica() -> None:
    canary = starting(9, 1, "new")
    assert on_trial(ready(2, 2), ready(3, 3), canary, waiting=[1]) == ()


def test_a_canary_alone_fills_no_slot() -> None:
    canary = starting(9, 1, "new")
    assert on_trial(ready(2, 2), ready(3, 3), canary) == (Spawn(1, "old", "start"),)


def test_a_slot_that_waits_for_its_backoff_does_not_hold_up_what_may_be_its_remedy() -> None:
    untried = Trial("new", "old")
    assert on_trial(ready(1, 1), ready(2, 2), trial=untried, waiting=[3]) == (Spawn(1, "new", "canary", canary=True),)


def test_nothing_is_tried_while_litellm_is_loaded_for_it_and_nothing_that_cannot_be_loaded() -> None:
    untried = Trial("new", "old")
    assert on_trial(*OLD, trial=untried, loading=True) == ()
    [given_up] = on_trial(*OLD, trial=untried, unloadable="no memory")
    assert isinstance(given_up, FailTrial)
    assert "no memory" in given_up.reason


@pytest.mark.parametrize("failures", range(TRIAL_FAILURES + 1))
def test_after_the_canary_stood_the_third_exit_while_starting_ends_it(failures: int) -> None:
    passed = Trial("new", "old", canary=9, passed=True, failures=failures)
    planned = on_trial(ready(9, 1, "new"), *OLD[1:], trial=passed)
    assert any(isinstance(action, FailTrial) for action in planned) == (failures >= TRIAL_FAILURES)


def test_a_second_slot_is_not_begun_while_one_is_filled_twice() -> None:
    assert actions(*OLD, starting(4, 1, "new"), generation="new") == ()


def test_what_was_replaced_leaves_as_soon_as_its_replacement_is_ready() -> None:
    assert actions(*OLD, ready(4, 1, "new"), generation="new") == (Leave(1, "replaced"),)


def test_after_a_scale_down_nobody_leaves_whom_the_others_do_not_make_up_for() -> None:
    assert actions(starting(1, 1), ready(4, 4), ready(5, 5), count=2) == (Spawn(2, "old", "start"),)
    assert actions(ready(1, 1), starting(2, 2), ready(4, 4), ready(5, 5), count=2) == (Leave(5, "scaled down"),)
    assert actions(ready(1, 1), ready(2, 2), ready(4, 4), count=2) == (Leave(4, "scaled down"),)


def test_whoever_does_not_answer_in_time_is_killed() -> None:
    late = starting(2, 2, since=NOW - 30.0)
    assert actions(ready(1, 1), late, ready(3, 3)) == (Kill(2, "did not answer within 30 s"),)
