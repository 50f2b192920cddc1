"""The recycler looks at serving replicas, and asks for the one that is worn out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from supervisor.fleet.messages import Message, Recycle
from supervisor.fleet.recycler import Recycler
from supervisor.policy.recycling import Limits
from tests.fleet.simulation import Simulation

MB = 2**20


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    made = Simulation(seed=1)
    made.want("a")
    made.advance(100.0)
    yield made
    made.close()


def recycler(simulation: Simulation, sizes: dict[int, int], limits: Limits, *, available: int = 2**40) -> Recycler:
    """`sizes` are by replica; one that is missing cannot be measured."""
    return Recycler(
        simulation.pool,
        simulation.rotation,
        lambda: limits,
        private=lambda pid: sizes.get(pid - 10_000),
        available=lambda: available,
        clock=lambda: simulation.now,
        luck=lambda: 0.0,
    )


async def asked_for(simulation: Simulation, looking: Recycler) -> Message | None:
    """What the pool finds in its mailbox."""
    await looking.look()
    messages = await simulation.pool.mailbox.take(0.0)
    return messages[0] if messages else None


async def test_the_one_that_is_too_large_is_asked_for(simulation: Simulation) -> None:
    looking = recycler(simulation, {1: 50 * MB, 2: 300 * MB, 3: 60 * MB}, Limits(private_memory=200 * MB))
    message = await asked_for(simulation, looking)
    assert isinstance(message, Recycle)
    assert (message.replica, message.reason, message.surge) == (2, "300 MiB of private memory", True)
    assert looking.private_memory(3) == 60 * MB
    assert looking.private_memory(9) is None


async def test_without_room_it_is_asked_to_go_first(simulation: Simulation) -> None:
    looking = recycler(simulation, {1: 50 * MB, 2: 300 * MB}, Limits(private_memory=200 * MB), available=40 * MB)
    message = await asked_for(simulation, looking)
    assert isinstance(message, Recycle)
    assert message.surge is False


async def test_requests_are_those_that_it_has_served(simulation: Simulation) -> None:
    for _ in range(7):
        simulation.rotation.release(await simulation.rotation.lease())
    message = await asked_for(simulation, recycler(simulation, {}, Limits(requests=2)))
    assert isinstance(message, Recycle)
    most = max(simulation.rotation, key=lambda each: each.served)
    assert (message.replica, message.reason) == (most.replica, f"{most.served} requests")


@pytest.mark.parametrize("limits", [Limits(), Limits(private_memory=200 * MB)])
async def test_where_nobody_is_worn_out_nobody_is_asked_for(simulation: Simulation, limits: Limits) -> None:
    looking = recycler(simulation, {1: 50 * MB, 2: 60 * MB, 3: 60 * MB}, limits)
    assert await asked_for(simulation, looking) is None
    assert looking.private_memory(1) == 50 * MB
