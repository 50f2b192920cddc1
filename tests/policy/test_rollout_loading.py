"""What the planner does while LiteLLM is loaded for a generation, and where that fails."""

from __future__ import annotations

import dataclasses

import pytest

from supervisor.policy.lifecycle import State
from supervisor.policy.restart import RestartRules
from supervisor.policy.rollout import NEVER, FailTrial, ReplicaView, Rules, Spawn, Trial, World, plan

RULES = Rules(settle=2.0, start_timeout=30.0, restart=RestartRules())
OLD = [ReplicaView(number, number, "old", State.READY, 0.0, ready_since=1.0) for number in (1, 2, 3)]
LOADING = World(3, "new", OLD, {}, trial=Trial("new", "old"), loading=True)


@pytest.mark.parametrize("now", [10.0, 1e6])
def test_while_it_is_loaded_nothing_happens_and_no_deadline_runs(now: float) -> None:
    planned = plan(LOADING, now=now, rules=RULES)
    assert planned.actions == ()
    assert planned.wake_at == NEVER
    assert not planned.settled


def test_what_falls_down_meanwhile_comes_back_on_the_old_generation() -> None:
    planned = plan(dataclasses.replace(LOADING, replicas=OLD[:2]), now=10.0, rules=RULES)
    assert [(action.slot, action.generation) for action in planned.actions if isinstance(action, Spawn)] == [(3, "old")]


def test_once_it_is_loaded_the_canary_is_spawned() -> None:
    planned = plan(dataclasses.replace(LOADING, loading=False), now=10.0, rules=RULES)
    assert planned.actions == (Spawn(1, "new", "canary", canary=True),)


def test_what_cannot_be_loaded_is_given_up_with_the_reason() -> None:
    planned = plan(dataclasses.replace(LOADING, loading=False, unloadable="no such package"), now=10.0, rules=RULES)
    (action,) = planned.actions
    assert isinstance(action, FailTrial)
    assert "no such package" in action.reason
