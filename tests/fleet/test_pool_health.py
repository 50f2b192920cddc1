"""What misses its probes, hangs or relays, played against the real pool on a simulated clock."""

from __future__ import annotations

import dataclasses

from supervisor import events as ev
from supervisor.fleet.messages import FleetRules, Rule
from tests.fleet.simulation import (
    HEALTH,
    RULES,
    Simulation,
    names,
)


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
