"""Streams reach the client as the provider sends them."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from tests.daemon import Daemon
from tests.fake_azure import Answer, FakeAzure, Outcome, Steps, chunk_texts
from tests.load import Load

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT: dict[str, Any] = {"model": "gpt-4", "messages": [{"role": "user", "content": "ping"}], "stream": True}


async def content(stream: aiohttp.StreamReader) -> str | None:
    """The text of the next chunk that has any; None at the end."""
    async for line in stream:
        if line.startswith(b"data: {"):
            choices = json.loads(line[len(b"data: ") :])["choices"]
            if choices and (text := choices[0]["delta"].get("content")):
                return str(text)
    return None


async def test_the_first_chunk_arrives_before_the_provider_sends_the_second(
    pool: Daemon, azure: FakeAzure, client: aiohttp.ClientSession
):
    steps = Steps()
    azure.answer = answer = Answer(chunks=4, steps=steps)
    steps.release()
    async with client.post(f"{pool.url}/chat/completions", json=CHAT) as response:
        assert response.status == 200
        for number, expected in enumerate(chunk_texts(answer), start=1):
            assert await content(response.content) == expected
            assert azure.requests[0].sent == number
            steps.release()
        assert await content(response.content) is None
    assert azure.requests[0].outcome is Outcome.ANSWERED


async def test_fifty_streams_at_once_lose_nothing(pool: Daemon, azure: FakeAzure):
    steps = Steps()
    azure.answer = answer = Answer(chunks=20, steps=steps)
    async with Load(pool.url, clients=50, requests=50, stream=True) as load:
        # All fifty are open at the same moment before any of them may send.
        await azure.reached(lambda server: server.count == 50, within=60)
        steps.release_all()
        await load.finished_at_least(50)
    assert not load.failed, load.summary()
    # How many replicas shared them is not asked: one that was too busy for a probe is spared, and was once.
    assert {result.text for result in load.results} == {"".join(chunk_texts(answer))}
