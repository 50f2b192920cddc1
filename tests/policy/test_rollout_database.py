"""Who may change a database's schema, and when the others may start."""

from __future__ import annotations

import dataclasses

import pytest

from supervisor.policy.lifecycle import State
from supervisor.policy.restart import RestartRules, SlotRecord
from supervisor.policy.rollout import (
    MIGRATION_PATIENCE,
    FailTrial,
    Kill,
    ReplicaView,
    Rules,
    Spawn,
    Trial,
    World,
    plan,
)

RULES = Rules(settle=2.0, start_timeout=30.0, restart=RestartRules())
EMPTY = World(3, "new", [], {}, unmigrated=True)
FIRST = ReplicaView(1, 1, "new", State.STARTING, spawned_at=0.0, migrates=True)
OLD = [ReplicaView(number, number, "old", State.READY, 0.0, ready_since=1.0) for number in (1, 2, 3)]
TRIAL = World(3, "new", OLD, {}, trial=Trial("new", "old"), unmigrated=True)


def spawned(world: World, now: float = 10.0) -> list[Spawn]:
    return [action for action in plan(world, now=now, rules=RULES).actions if isinstance(action, Spawn)]


def test_without_a_database_all_start_at_once() -> None:
    world = dataclasses.replace(EMPTY, unmigrated=False)
    assert [(spawn.slot, spawn.migrates) for spawn in spawned(world)] == [(1, False), (2, False), (3, False)]


def test_with_one_the_first_starts_alone_and_migrates() -> None:
    assert [(spawn.slot, spawn.migrates) for spawn in spawned(EMPTY)] == [(1, True)]


@pytest.mark.parametrize("state", [State.STARTING, State.WARMING, State.STOPPING])
def test_until_it_has_answered_or_is_gone_nobody_else_starts(state: State) -> None:
    assert spawned(dataclasses.replace(EMPTY, replicas=[dataclasses.replace(FIRST, state=state)])) == []


def test_once_it_serves_the_others_start_together_and_leave_the_schema_alone() -> None:
    ready = dataclasses.replace(FIRST, state=State.READY, ready_since=5.0)
    world = dataclasses.replace(EMPTY, replicas=[ready], unmigrated=False)
    assert [(spawn.slot, spawn.migrates) for spawn in spawned(world)] == [(2, False), (3, False)]


def test_when_it_dies_another_slot_tries_and_again_alone() -> None:
    world = dataclasses.replace(EMPTY, slots={1: SlotRecord(failures=5, last_exit_at=9.9)})
    assert [(spawn.slot, spawn.migrates) for spawn in spawned(world)] == [(2, True)]


def test_the_canary_migrates() -> None:
    assert spawned(TRIAL) == [Spawn(1, "new", "canary", canary=True, migrates=True)]


def test_a_new_canary_waits_until_the_one_that_was_sent_away_is_gone() -> None:
    leaving = dataclasses.replace(FIRST, replica=4, state=State.STOPPING)
    assert spawned(dataclasses.replace(TRIAL, replicas=[*OLD, leaving])) == []


def test_what_falls_down_beside_the_canary_comes_back_at_once_and_does_not_migrate() -> None:
    canary = dataclasses.replace(FIRST, replica=4)
    world = dataclasses.replace(TRIAL, replicas=[*OLD[:2], canary], trial=Trial("new", "old", canary=4))
    assert spawned(world) == [Spawn(3, "old", "start")]


def test_a_later_replacement_does_not_migrate_again() -> None:
    views = [dataclasses.replace(view, generation="new") for view in OLD[:2]]
    assert [spawn.migrates for spawn in spawned(World(3, "new", views, {}))] == [False]


CANARY = dataclasses.replace(
    TRIAL, replicas=[*OLD, dataclasses.replace(FIRST, replica=4)], trial=Trial("new", "old", 4)
)


@pytest.mark.parametrize("world", [dataclasses.replace(EMPTY, replicas=[FIRST]), CANARY], ids=["first", "canary"])
def test_who_migrates_has_more_time_to_start(world: World) -> None:
    assert not plan(world, now=RULES.start_timeout * MIGRATION_PATIENCE - 1, rules=RULES).actions
    (action, *_) = plan(world, now=RULES.start_timeout * MIGRATION_PATIENCE, rules=RULES).actions
    assert isinstance(action, Kill | FailTrial)
    assert "within 300 s" in action.reason
