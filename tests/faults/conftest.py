"""One pool that most faults are done to, so that each costs its own time only. All tests here share one event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.pool import FaultPool, config


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session_pool() -> AsyncIterator[FaultPool]:
    async with FaultPool(count=3) as pool:
        yield pool


@pytest_asyncio.fixture(loop_scope="session")
async def pool(session_pool: FaultPool, request: pytest.FixtureRequest) -> AsyncIterator[FaultPool]:
    """Three replicas that are well, on a configuration without faults, whatever the test before has done."""
    await session_pool.restore(config())
    with session_pool.shown_if_it_fails(request):
        yield session_pool
