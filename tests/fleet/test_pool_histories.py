"""Roll-outs, roll-backs, crashes and scales, played against the real pool on a simulated clock."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor import events as ev
from supervisor.control.operations import ReloadOutcome, ReloadResult
from supervisor.errors import LitesupError
from supervisor.fleet.messages import Answered, FleetRules, Rule
from supervisor.fleet.pool import Pool
from supervisor.policy.balancing import round_robin
from supervisor.policy.queueing import QueueLimits
from supervisor.rotation import Rotation
from tests.fleet.simulation import (
    DIES_SOON,
    GOOD,
    HEALTH,
    REFUSES,
    RULES,
    SHAKY,
    SILENT,
    SLOW,
    UNFIT,
    Behaviour,
    Simulation,
    generation,
)


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    simulation = Simulation(seed=1)
    simulation.want("a")
    simulation.advance(5.0)
    assert simulation.of("a") == simulation.serving == {1, 2, 3}
    simulation.seen.clear()
    yield simulation
    simulation.close()


def names(simulation: Simulation) -> list[str]:
    return [type(event).__name__ for event in simulation.seen]


def test_at_first_start_all_slots_are_filled_at_once() -> None:
    simulation = Simulation(seed=2, count=4)
    simulation.want("a")
    assert len(simulation.live) == 4
    simulation.close()


def test_a_good_change_replaces_every_replica_and_none_before_its_replacement_is_ready(simulation: Simulation) -> None:
    outcome = simulation.want("b")
    simulation.advance(30.0)
    assert outcome.result().result is ReloadResult.ROLLED
    assert simulation.of("b") == simulation.serving
    assert len(simulation.serving) == 3
    assert simulation.pool.course.last_good == "b"


def test_the_canary_stands_for_the_settle_time_before_a_second_replica_is_started(simulation: Simulation) -> None:
    simulation.want("b")
    simulation.advance(1.9)
    assert len(simulation.of("b")) == 1
    assert len(simulation.of("a")) == 3
    simulation.advance(2.0)
    assert len(simulation.of("b")) >= 2


@pytest.mark.parametrize("behaviour", [REFUSES, DIES_SOON, SILENT, SHAKY], ids=["refuses", "dies", "silent", "shaky"])
def test_a_bad_generation_is_given_up_and_the_old_one_never_stops_serving(
    simulation: Simulation, behaviour: Behaviour
) -> None:
    before = simulation.serving
    outcome = simulation.want("b", behaviour)
    simulation.advance(60.0)
    assert outcome.result().result is ReloadResult.ROLLED_BACK
    assert outcome.result().problems
    assert simulation.serving == before
    assert not simulation.of("b")
    assert "RolloutFailed" in names(simulation)


def test_a_generation_that_failed_is_not_tried_again_until_told(simulation: Simulation) -> None:
    simulation.want("b", REFUSES)
    simulation.advance(10.0)
    assert simulation.want("b", GOOD).result().result is ReloadResult.ROLLED_BACK
    simulation.advance(10.0)
    assert not simulation.of("b")
    again = simulation.want("b", GOOD, again=True)
    simulation.advance(30.0)
    assert again.result().result is ReloadResult.ROLLED


def test_what_crashes_during_a_trial_comes_back_on_the_old_generation(simulation: Simulation) -> None:
    simulation.want("b", SLOW)
    simulation.advance(0.5)
    simulation.crash(3)
    simulation.advance(2.0)
    assert len(simulation.of("a")) == 3
    assert len(simulation.of("b")) == 1


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


def test_a_newer_change_takes_the_place_of_one_under_way(simulation: Simulation) -> None:
    first = simulation.want("b", SLOW)
    simulation.advance(1.0)
    second = simulation.want("c")
    simulation.advance(40.0)
    assert first.result() == ReloadOutcome(ReloadResult.SUPERSEDED, "b")
    assert second.result().result is ReloadResult.ROLLED
    assert simulation.serving == simulation.of("c")


def test_a_change_taken_back_during_its_trial_leaves_the_old_replicas_as_they_are(simulation: Simulation) -> None:
    before = simulation.serving
    simulation.want("b", SLOW)
    simulation.advance(1.0)
    back = simulation.want("a")
    simulation.advance(10.0)
    assert back.result().result is ReloadResult.ROLLED
    assert simulation.serving == before


def test_a_generation_that_fails_after_its_canary_stood_is_rolled_back(simulation: Simulation) -> None:
    outcome = simulation.want("b")
    simulation.advance(3.5)
    assert simulation.pool.course.last_good == "b"
    simulation.behaviours["b"] = REFUSES
    simulation.advance(60.0)
    assert outcome.result().result in (ReloadResult.ROLLED_BACK, ReloadResult.ROLLED)
    if outcome.result().result is ReloadResult.ROLLED_BACK:
        assert simulation.serving == simulation.of("a")


def test_without_a_good_generation_a_new_one_is_taken_at_once() -> None:
    simulation = Simulation(seed=4)
    simulation.want("a", REFUSES)
    simulation.advance(3.0)
    outcome = simulation.want("b")
    simulation.advance(5.0)
    assert outcome.result().result is ReloadResult.ROLLED
    assert len(simulation.of("b")) == 3
    simulation.close()


@pytest.fixture
def beginning() -> Iterator[Simulation]:
    simulation = Simulation(seed=6)
    yield simulation
    simulation.close()


@pytest.mark.parametrize("behaviour", [REFUSES, DIES_SOON, SILENT], ids=["refuses", "dies", "silent"])
def test_a_first_generation_that_never_stands_makes_way_for_the_last_good_one(
    beginning: Simulation, behaviour: Behaviour
) -> None:
    outcome = beginning.want("new", behaviour, fallback="good")
    beginning.advance(200.0)
    assert outcome.result().result is ReloadResult.ROLLED_BACK
    assert beginning.serving == beginning.of("good")
    assert len(beginning.serving) == 3
    assert beginning.pool.course.last_good == "good"
    assert "new" in beginning.pool.course.failed
    assert beginning.pool.in_force


def test_a_first_generation_is_started_in_every_slot_though_there_is_a_last_good_one(beginning: Simulation) -> None:
    outcome = beginning.want("new", fallback="good")
    assert len(beginning.of("new")) == 3
    beginning.advance(10.0)
    assert outcome.result().result is ReloadResult.ROLLED
    assert not beginning.of("good")
    assert "ReplicaExited" not in names(beginning)


def test_a_first_generation_of_which_one_replica_has_stood_is_kept_whatever_the_others_do(
    beginning: Simulation,
) -> None:
    beginning.want("new", fallback="good")
    beginning.advance(5.0)
    assert beginning.pool.course.last_good == "new"
    beginning.behaviours["new"] = REFUSES
    for replica in (1, 2):
        beginning.crash(replica)
    beginning.advance(60.0)
    assert not beginning.of("good")
    assert beginning.serving == {3}


def test_without_a_last_good_one_the_first_is_tried_for_ever(beginning: Simulation) -> None:
    outcome = beginning.want("new", REFUSES)
    beginning.advance(60.0)
    assert not outcome.done()
    assert beginning.pool.course.last_good is None


def test_a_newer_change_before_the_first_has_stood_falls_back_to_the_same_last_good_one(beginning: Simulation) -> None:
    first = beginning.want("new", SLOW, fallback="good")
    beginning.advance(1.0)
    second = beginning.want("newer", REFUSES)
    beginning.advance(60.0)
    assert first.result() == ReloadOutcome(ReloadResult.SUPERSEDED, "new")
    assert second.result().result is ReloadResult.ROLLED_BACK
    assert beginning.serving == beginning.of("good")
    assert len(beginning.serving) == 3


def test_replicas_that_do_not_answer_in_time_count_as_exits_while_starting(simulation: Simulation) -> None:
    outcome = simulation.want("b")
    while simulation.pool.course.last_good != "b":
        simulation.advance(0.01)  # until the canary has stood
    simulation.behaviours["b"] = SILENT
    simulation.advance(400.0)
    assert outcome.result().result is ReloadResult.ROLLED_BACK
    assert simulation.serving == simulation.of("a")


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


def test_one_missed_probe_makes_suspect_and_an_answer_takes_it_back(simulation: Simulation) -> None:
    simulation.miss_probe(2)
    assert [each.replica for each in simulation.rotation if each.suspect] == [2]
    from supervisor.fleet.messages import Probed

    simulation.tell(Probed(2, None))
    assert [each.replica for each in simulation.rotation if each.suspect] == []
    assert names(simulation) == ["ReplicaSuspect", "ReplicaRecovered"]


def test_a_hung_replica_is_killed_with_a_reason_and_replaced(simulation: Simulation) -> None:
    simulation.hang(2, 60.0)
    simulation.advance(20.0)
    killed = [event for event in simulation.seen if isinstance(event, ev.ReplicaKilled)]
    assert [event.replica for event in killed] == [2]
    assert "hung" in killed[0].reason
    simulation.advance(3.0)
    assert len(simulation.serving) == 3


class Held:
    """A request that waits for the first byte of an answer."""

    def __init__(self) -> None:
        self.given_up = 0

    def give_up(self) -> None:
        self.given_up += 1


def held_by(simulation: Simulation, replica: int) -> Held:
    held, upstream = Held(), simulation.rotation.get(replica)
    assert upstream is not None
    upstream.unanswered.add(held)
    return held


def test_after_three_misses_what_waits_there_is_given_up(simulation: Simulation) -> None:
    held, other = held_by(simulation, 2), held_by(simulation, 3)
    for misses in (1, 2, 3):
        assert held.given_up == 0, misses
        simulation.now += 2.0
        simulation.miss_probe(2)
    assert (held.given_up, other.given_up) == (1, 0)


def test_what_waits_for_a_replica_that_still_relays_is_not_given_up(simulation: Simulation) -> None:
    held, upstream = held_by(simulation, 2), simulation.rotation.get(2)
    assert upstream is not None
    for _ in range(20):
        simulation.now += 1.0
        upstream.last_byte_at = simulation.now
        simulation.now += 1.0
        simulation.miss_probe(2)
    assert held.given_up == 0


def test_when_all_hang_nothing_is_given_up_and_they_are_replaced_one_at_a_time(simulation: Simulation) -> None:
    held = {replica: held_by(simulation, replica) for replica in (1, 2, 3)}
    hung = {1, 2, 3}
    for _ in range(60):
        simulation.now += 2.0
        for replica in sorted(hung & simulation.shells.keys()):
            simulation.miss_probe(replica)
            # At every moment somebody is there who may come to life again, or who has just been started.
            assert simulation.serving
        if not hung & simulation.shells.keys():
            break
        if len(simulation.serving) == 3 and simulation.serving == hung:
            assert not any(request.given_up for request in held.values())
        simulation.advance(0.1)
    killed = [event for event in simulation.seen if isinstance(event, ev.ReplicaKilled)]
    assert sorted(event.replica for event in killed) == [1, 2, 3]
    simulation.advance(3.0)
    assert len(simulation.serving) == 3
    # The first went while nobody was well, the next only once its replacement was ready.
    order = [type(event).__name__ for event in simulation.seen]
    assert "ReplicaReady" in order[order.index("ReplicaKilled") : len(order) - order[::-1].index("ReplicaKilled")]


def test_one_missed_probe_after_a_long_sleep_of_the_daemon_kills_nobody(simulation: Simulation) -> None:
    simulation.now += 3600.0
    for replica in (1, 2, 3):
        simulation.miss_probe(replica)
    assert "ReplicaKilled" not in names(simulation)


def test_a_replica_that_relays_is_not_hung(simulation: Simulation) -> None:
    upstream = simulation.rotation.get(2)
    assert upstream is not None
    for _ in range(30):
        simulation.now += 2.0
        upstream.last_byte_at = simulation.now
        simulation.miss_probe(2)
    assert "ReplicaKilled" not in names(simulation)


@pytest.mark.parametrize("how", ["drained", "scaled away"])
def test_a_canary_that_is_sent_away_is_followed_by_another(simulation: Simulation, how: str) -> None:
    outcome = simulation.want("b")
    [canary] = simulation.of("b")
    if how == "drained":
        simulation.drain_slot(simulation.shells[canary].spec.slot)
    else:
        simulation.crash(1)  # so that the next canary is not in slot 1
        simulation.want("c", SLOW)
        outcome = simulation.want("b")
        simulation.advance(0.3)
        [canary] = simulation.of("b")
        assert simulation.shells[canary].spec.slot > 1
        simulation.scale(1)
    simulation.advance(60.0)
    assert outcome.done(), "the roll-out came to an end"
    assert outcome.result().result is ReloadResult.ROLLED
    assert simulation.serving == simulation.of("b")


def test_a_roll_back_says_how_the_canary_ended(simulation: Simulation) -> None:
    outcome = simulation.want("b", REFUSES)
    simulation.advance(10.0)
    assert outcome.result().problems == ("its first replica exited: exit 3",)


def test_a_canary_that_answers_and_must_not_serve_never_gets_a_request(simulation: Simulation) -> None:
    before = simulation.serving
    outcome = simulation.want("b", UNFIT)
    simulation.advance(10.0)
    assert outcome.result().problems == ("its first replica exited: killed: no such model",)
    assert simulation.serving == before
    assert "ReplicaReady" not in names(simulation)


def test_what_a_roll_back_would_start_again_is_kept_on_disk(simulation: Simulation) -> None:
    simulation.want("b")
    while simulation.pool.course.last_good != "b":
        simulation.advance(0.1)
    simulation.behaviours["b"] = SILENT
    for replica in sorted(simulation.of("a")):
        simulation.crash(replica)
    simulation.advance(5.0)
    assert {member.generation.digest for member in simulation.pool.members} == {"b"}
    assert {"a", "b"} <= simulation.pool.live_generations


def test_failures_are_not_remembered_for_ever(simulation: Simulation) -> None:
    for number in range(50):
        simulation.want(f"bad{number}", REFUSES)
        simulation.advance(5.0)
    assert len(simulation.pool.course.failed) == 20
    assert "bad49" in simulation.pool.course.failed


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


def test_other_rules_count_at_once(simulation: Simulation) -> None:
    simulation.want("b")
    simulation.advance(1.0)
    patient = dataclasses.replace(RULES, settle=100.0)
    simulation.tell(Rule(FleetRules(patient, HEALTH)))
    simulation.advance(30.0)
    assert len(simulation.of("b")) == 1
    simulation.tell(Rule(FleetRules(RULES, HEALTH)))
    simulation.advance(30.0)
    assert simulation.of("b") == simulation.serving
