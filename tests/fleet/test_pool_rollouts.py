"""First generations, changes and roll-backs, played against the real pool on a simulated clock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from supervisor.control.operations import ReloadOutcome, ReloadResult
from tests.fleet.simulation import (
    DIES_SOON,
    GOOD,
    REFUSES,
    SHAKY,
    SILENT,
    SLOW,
    UNFIT,
    Behaviour,
    Simulation,
    names,
)


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
