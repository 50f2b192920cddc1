"""ChatSheetAI, unchanged, gets its answers from the guide's own file."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.daemon import Daemon
from tests.fake_azure import Answer, FakeAzure
from tests.load import REPLICA_HEADER, Load

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT: dict[str, Any] = {"model": "gpt-4", "messages": [{"role": "user", "content": "ping"}]}


async def test_a_chat_completion_without_authorization_is_answered_by_azure(
    pool: Daemon, azure: FakeAzure, client: aiohttp.ClientSession
):
    async with client.post(f"{pool.url}/chat/completions", json=CHAT) as response:
        document = await response.json()
        assert response.status == 200, document
        assert REPLICA_HEADER in response.headers
    assert document["choices"][0]["message"]["content"] == "pong"
    assert azure.count == 1
    seen = azure.requests[0]
    assert seen.path == "/openai/deployments/gpt-4o-2024-08-06/chat/completions"
    assert seen.query["api-version"] == "2024-08-01-preview"
    assert seen.headers["api-key"] == azure.api_key
    assert "authorization" not in seen.headers


async def test_health_without_authorization_is_answered_and_costs_no_call(
    pool: Daemon, azure: FakeAzure, client: aiohttp.ClientSession
):
    for path in ("/health", "/health/liveliness", "/health/liveness", "/health/readiness"):
        async with client.get(pool.url + path) as response:
            assert response.status == 200, path
    assert azure.count == 0


async def test_models_lists_what_the_guide_configures_and_nothing_else(pool: Daemon, client: aiohttp.ClientSession):
    async with client.get(f"{pool.url}/v1/models") as response:
        document = await response.json()
    assert [model["id"] for model in document["data"]] == ["gpt-4"]


async def test_requests_are_shared_among_all_replicas(pool: Daemon, azure: FakeAzure):
    async with Load(pool.url, clients=4) as load:
        await load.served_by(3)
    assert not load.failed, load.summary()


async def test_the_client_sees_the_status_that_azure_answered(
    pool: Daemon, azure: FakeAzure, client: aiohttp.ClientSession
):
    azure.answer = Answer(status=400)
    async with client.post(f"{pool.url}/chat/completions", json=CHAT) as response:
        assert response.status == 400
        assert "error" in await response.json()


async def test_a_client_that_leaves_is_left_by_the_provider_call_too(
    pool: Daemon, azure: FakeAzure, client: aiohttp.ClientSession
):
    azure.answer = Answer(chunks=10_000, pause=0.05)
    async with client.post(f"{pool.url}/chat/completions", json=CHAT | {"stream": True}) as response:
        await response.content.readline()
        response.close()
    await azure.reached(lambda server: server.requests[0].outcome.value == "client gone", within=15)


async def test_a_large_body_arrives_whole(pool: Daemon, azure: FakeAzure, client: aiohttp.ClientSession):
    text = "word " * 400_000
    body = {"model": "gpt-4", "messages": [{"role": "user", "content": text}]}
    async with client.post(f"{pool.url}/chat/completions", json=body) as response:
        assert response.status == 200, await response.text()
    assert azure.requests[0].prompt == text
