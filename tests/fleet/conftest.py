"""A pool of three that serves, on a simulated clock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fleet.simulation import Simulation


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    simulation = Simulation(seed=1)
    simulation.want("a")
    simulation.advance(5.0)
    assert simulation.of("a") == simulation.serving == {1, 2, 3}
    simulation.seen.clear()
    yield simulation
    simulation.close()
