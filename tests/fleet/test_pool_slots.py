"""Crashes, restarts, exchanges, scales and drains, played against the real pool on a simulated clock."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from supervisor import events as ev
from supervisor.control.operations import ReloadResult
from supervisor.errors import LitesupError
from supervisor.fleet.messages import Answered, FleetRules
from supervisor.fleet.pool import Pool
from supervisor.policy.balancing import round_robin
from supervisor.policy.queueing import QueueLimits
from supervisor.rotation import Rotation
from tests.fleet.simulation import (
    HEALTH,
    REFUSES,
    RULES,
    Simulation,
    generation,
    names,
)


def test_a_replica_that_crashes_comes_back_at_once(simulation: Simulation) -> None:
    simulation.advance(20.0)
    simulation.crash(2)
    assert len(simulation.live) == 3
    assert simulation.pool.slots.history(2).restarts == 1


def test_a_crash_loop_is_slowed_down_and_never_given_up() -> None:
    simulation = Simulation(seed=3)
    simulation.want("a", REFUSES)
    simulation.advance(600.0)
    exits = names(simulation).count("ReplicaExited")
    # Nobody is ready, so each of three slots is tried about once a second.
    assert 600 <= exits <= 3 * 600
    simulation.close()


def test_a_single_crashing_slot_waits_longer_and_longer(simulation: Simulation) -> None:
    simulation.behaviours["a"] = REFUSES
    simulation.crash(1)
    simulation.advance(300.0)
    assert 10 <= names(simulation).count("ReplicaExited") <= 20


def test_restart_replaces_the_named_slot_and_only_that(simulation: Simulation) -> None:
    done = simulation.replace(2)
    simulation.advance(10.0)
    assert done.result() == (2,)
    assert {1, 3} < simulation.serving
    assert 2 not in simulation.serving
    assert len(simulation.serving) == 3


def test_restart_of_all_goes_one_slot_at_a_time(simulation: Simulation) -> None:
    done = simulation.replace()
    simulation.advance(20.0)
    assert done.result() == (1, 2, 3)
    assert not simulation.serving & {1, 2, 3}


def test_a_worn_out_replica_is_exchanged_replacement_first(simulation: Simulation) -> None:
    simulation.recycle(2)
    assert simulation.serving == {1, 2, 3}
    simulation.advance(10.0)
    assert simulation.serving == {1, 3, 4}
    assert names(simulation)[0] == "ReplicaRecycled"


def test_without_room_for_two_the_worn_out_one_ends_before_its_replacement_is_started(simulation: Simulation) -> None:
    simulation.drain_seconds = 50.0
    simulation.recycle(2, surge=False)
    assert simulation.serving == {1, 3}
    simulation.advance(49.0)
    assert set(simulation.shells) == {1, 2, 3}
    simulation.advance(10.0)
    assert simulation.serving == {1, 3, 4}


@pytest.mark.parametrize("busy", ["rolling", "restarting", "short", "scaling"])
def test_nobody_is_worn_out_while_something_else_is_under_way(simulation: Simulation, busy: str) -> None:
    match busy:
        case "rolling":
            simulation.want("b")
        case "restarting":
            simulation.replace(1)
        case "short":
            simulation.crash(1)
        case "scaling":
            simulation.scale(4)
    simulation.recycle(2)
    assert 2 in simulation.serving
    assert "ReplicaRecycled" not in names(simulation)


def test_who_is_asked_for_again_and_again_is_exchanged_once(simulation: Simulation) -> None:
    for _ in range(5):
        simulation.recycle(2)
        simulation.recycle(3)
        simulation.advance(0.1)
    simulation.advance(10.0)
    assert names(simulation).count("ReplicaRecycled") == 1
    assert simulation.serving == {1, 3, 4}


def test_a_change_that_arrives_while_one_is_exchanged_without_room_goes_through(simulation: Simulation) -> None:
    simulation.recycle(2, surge=False)
    outcome = simulation.want("b")
    simulation.advance(60.0)
    assert outcome.result().result is ReloadResult.ROLLED
    assert simulation.serving == simulation.of("b")


def test_a_slot_that_does_not_exist_is_an_error_that_names_those_that_do(simulation: Simulation) -> None:
    error = simulation.replace(7).exception()
    assert error is not None
    assert "slots are 1 to 3" in str(error)


def test_scaling_up_and_down_reaches_the_count(simulation: Simulation) -> None:
    simulation.scale(5)
    simulation.advance(5.0)
    assert len(simulation.serving) == 5
    simulation.scale(1)
    simulation.advance(5.0)
    assert simulation.serving == {1}


def test_a_drained_slot_is_filled_again(simulation: Simulation) -> None:
    simulation.drain_slot(1)
    simulation.advance(5.0)
    assert len(simulation.serving) == 3
    assert 1 not in simulation.serving


def test_what_drains_holds_up_nothing(simulation: Simulation) -> None:
    simulation.drain_seconds = 500.0
    outcome = simulation.want("b")
    simulation.advance(30.0)
    assert outcome.result().result is ReloadResult.ROLLED


def test_what_cannot_happen_to_a_replica_costs_that_replica_and_nothing_else(simulation: Simulation) -> None:
    simulation.tell(Answered(2))  # it is ready already
    simulation.advance(5.0)
    [killed] = [event for event in simulation.seen if isinstance(event, ev.ReplicaKilled)]
    assert "internal error" in killed.reason
    assert len(simulation.serving) == 3


async def test_who_waits_when_the_pool_ends_is_told() -> None:
    pool = Pool(
        1,
        rotation=Rotation(round_robin, QueueLimits(10, 1.0)),
        events=ev.Events(),
        make_replica=lambda *_: pytest.fail("nothing is to be started"),
        rules=FleetRules(RULES, HEALTH),
    )
    restart = asyncio.create_task(pool.mailbox.replace(()))
    await asyncio.sleep(0)
    pool.mailbox.stop()
    late = pool.mailbox.want(generation("a"), Path("/nowhere"), reason="test", again=False)
    async with asyncio.timeout(5):
        await pool.run()
        with pytest.raises(LitesupError, match="stops"):
            await restart
        with pytest.raises(LitesupError, match="stops"):
            await late
