"""Random histories of saves, crashes and everything else that may happen to a pool; the promises hold at each step.

A failing seed is named by the test's own name; `Simulation(seed)` plays the same history again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.saves import BAD, Saves, behaviour_of, text
from tests.fleet.simulation import Simulation

MUCH_LATER = 1_500.0  # seconds in which any pool that is left alone has come to rest


class History:
    """One operator with bad luck. Every happening is one of the methods that `happenings` lists."""

    def __init__(self, seed: int, folder: Path, count: int) -> None:
        self.simulation = Simulation(seed, count, loads=True)
        self.simulation.stubborn = self.simulation.loading_fails = 0.05
        self.random = self.simulation.random
        self.saves = Saves(self.simulation, folder)
        self.count = count
        self._texts: list[str] = []
        self._told: list[str] = [f"seed {seed}"]
        self.happenings = {
            self.good: 3,
            self.bad: 4,
            self.typo: 2,
            self.former: 3,
            self.in_two_pieces: 2,
            self.moved_away: 1,
            self.reload: 2,
            self.crash: 4,
            self.crash_of_the_canary: 2,
            self.crash_of_many: 1,
            self.hang: 2,
            self.fork_server_lost: 1,
            self.scale: 2,
            self.restart: 2,
            self.drain: 2,
        }

    def __str__(self) -> str:
        return "; ".join(self._told)

    def play(self, length: int) -> None:
        draw, happenings = self.random, list(self.happenings)
        self.saves.save(self.new("good"))
        self.saves.reload()
        self.simulation.advance(draw.uniform(0.0, 5.0))
        for _ in range(length):
            chosen = draw.choices(happenings, list(self.happenings.values()), k=draw.choice([1, 1, 1, 2, 3]))
            with self.simulation.at_once():
                for happen in chosen:
                    self._told.append(f"{self.simulation.now:.1f} {happen.__name__}")
                    happen()
            self.simulation.advance(draw.choice([0.0, 0.1, 0.5, 1.0, 3.0, 10.0, 40.0]))

    def new(self, kind: str) -> str:
        self._texts.append(text(len(self._texts), kind))
        return self._texts[-1]

    # What may happen.

    def good(self) -> None:
        self.saves.save(self.new(self.random.choice(["good", "good", "slow"])))

    def bad(self) -> None:
        self.saves.save(self.new(self.random.choice(BAD)))

    def typo(self) -> None:
        self.saves.save(self.new("good").replace("model_name:", "model_name"))

    def former(self) -> None:
        self.saves.save(self.random.choice(self._texts))

    def in_two_pieces(self) -> None:
        self.saves.save_in_two_pieces(self.new(self.random.choice(["good", *BAD])))

    def moved_away(self) -> None:
        self.saves.save_after_moving_away(self.random.choice([self.new("good"), self._texts[0]]))

    def reload(self) -> None:
        self.saves.reload(again=self.random.random() < 0.5)

    def crash(self) -> None:
        if self.simulation.shells:
            self.simulation.crash(self.random.choice(sorted(self.simulation.shells)))

    def crash_of_the_canary(self) -> None:
        trial = self.simulation.pool.course.trial
        if trial is not None and trial.canary in self.simulation.shells:
            self.simulation.crash(trial.canary)

    def crash_of_many(self) -> None:
        for replica in sorted(self.simulation.shells):
            if self.random.random() < 0.5:
                self.simulation.crash(replica)

    def hang(self) -> None:
        if serving := sorted(self.simulation.serving):
            self.simulation.hang(self.random.choice(serving), self.random.choice([1.0, 5.0, 60.0]))

    def fork_server_lost(self) -> None:
        self.simulation.launches_fail_until = self.simulation.now + self.random.uniform(0.0, 5.0)

    def scale(self) -> None:
        self.simulation.scale(self.random.randint(max(1, self.count - 3), self.count + 3))

    def restart(self) -> None:
        self.simulation.replace(*self.random.choice([(), (1,)]))

    def drain(self) -> None:
        self.simulation.drain_slot(self.random.randint(1, self.count))


def assert_at_rest(history: History) -> None:
    """Everybody serves what is wanted, nothing else is left, and nobody waits for an answer."""
    pool, simulation = history.simulation.pool, history.simulation
    assert pool.wanted is not None
    assert simulation.serving == simulation.of(pool.wanted.digest), f"{pool!r}: {history}"
    assert len(simulation.serving) == len(pool.members) == pool.count, f"{pool!r}: {history}"
    unanswered = [future for future in simulation.asked if not future.done()]
    assert not unanswered, f"{len(unanswered)} wait for an answer: {history}"


@pytest.fixture
def history(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[History]:
    seed, count = request.param
    history = History(seed, tmp_path, count)
    yield history
    history.simulation.close()


@pytest.mark.parametrize("history", [(seed, 3) for seed in range(200)], indirect=True, ids=str)
def test_in_any_history_the_promises_hold_and_the_pool_comes_to_rest(history: History) -> None:
    simulation, pool = history.simulation, history.simulation.pool
    try:
        history.play(length=history.random.randint(5, 25))
        simulation.advance(MUCH_LATER)
        assert pool.wanted is not None
        if behaviour_of(pool.wanted).good:
            assert_at_rest(history)
            on_disk = history.saves.on_disk()
            if on_disk is not None and on_disk.digest not in pool.course.failed:
                assert pool.wanted.digest == on_disk.digest, f"the file is not what runs: {history}"

        simulation.loading_fails = 0.0
        history.saves.save(end := history.new("good"))
        simulation.advance(MUCH_LATER)
        assert_at_rest(history)
        assert end.split()[3] in pool.wanted.config_text

        history.play(length=history.random.randint(1, 4))
        simulation.stop()
        history.play(length=2)
        simulation.advance(120.0)
        assert not pool.members, f"{pool!r}: {history}"
        pool.mailbox.close([*pool.course.waiting(), *pool._replacements.waiting()])
        assert all(future.done() for future in simulation.asked)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{history}") from error


@pytest.mark.parametrize("history", [(1_000, 1_000), (1_001, 1_000)], indirect=True, ids=str)
def test_in_a_pool_of_a_thousand_the_promises_hold_as_well(history: History) -> None:
    history.play(length=6)
    assert len(history.simulation.serving) > 900, str(history)


@pytest.mark.parametrize("history", [(1_002, 300)], indirect=True, ids=str)
def test_a_pool_of_hundreds_comes_to_rest_on_a_text_that_came_back(history: History) -> None:
    simulation, former = history.simulation, history.new("good")
    history.saves.save(former)
    simulation.advance(10.0)
    rolled = len(simulation.serving)
    history.saves.save(history.new("good"))
    simulation.advance(25.0)
    assert simulation.pool.wanted is not None
    assert 20 < len(simulation.of(simulation.pool.wanted.digest)) < rolled == 300
    history.saves.save(former)
    simulation.advance(100.0)
    assert_at_rest(history)
