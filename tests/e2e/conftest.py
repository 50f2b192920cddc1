"""Daemons over the real LiteLLM, before a fake Azure. All tests here share one event loop, as their daemons do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from tests.daemon import GUIDE, Daemon
from tests.fake_azure import Answer, FakeAzure
from tests.sdk_pool import DEPLOYMENTS, SdkPool

AZURE_KEY = "azure-key-0f6d2c91b7"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def azure_server() -> AsyncIterator[FakeAzure]:
    async with FakeAzure(api_key=AZURE_KEY, deployments=DEPLOYMENTS) as server:
        yield server


@pytest.fixture
def azure(azure_server: FakeAzure) -> FakeAzure:
    """The fake provider, with nothing remembered and its plain answer."""
    azure_server.requests.clear()
    azure_server.answer = Answer()
    azure_server.choose = None
    return azure_server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session_pool(azure_server: FakeAzure) -> AsyncIterator[Daemon]:
    config = GUIDE.format(url=azure_server.url)
    # A test may stop a replica for as long as it looks at the others.
    settings = {"health": {"kill_after": 60}}
    daemon = Daemon(config, environment={"AZURE_OPENAI_API_KEY": AZURE_KEY}, settings=settings)
    async with daemon:
        yield daemon


@pytest_asyncio.fixture(loop_scope="session")
async def pool(session_pool: Daemon, azure: FakeAzure, request: pytest.FixtureRequest) -> AsyncIterator[Daemon]:
    """Three replicas on the guide's own file, shared: a test leaves it as it found it, all replicas ready."""
    await session_pool.settled()
    with session_pool.shown_if_it_fails(request):
        yield session_pool


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session_sdk_pool(azure_server: FakeAzure) -> AsyncIterator[SdkPool]:
    async with SdkPool(azure_server.url, AZURE_KEY) as pool:
        yield pool


@pytest_asyncio.fixture(loop_scope="session")
async def sdk_pool(
    session_sdk_pool: SdkPool, azure: FakeAzure, request: pytest.FixtureRequest
) -> AsyncIterator[SdkPool]:
    """Two replicas with a model for each API, shared: a test leaves it as it found it, with both ready and at rest."""
    await session_sdk_pool.settled()
    with session_sdk_pool.shown_if_it_fails(request):
        yield session_sdk_pool


@pytest_asyncio.fixture(loop_scope="session")
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that sends what the test says and no header of its own but those that HTTP needs."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session
