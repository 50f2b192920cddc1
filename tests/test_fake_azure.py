"""The fake provider refuses what Azure refuses, and a test decides what it sends and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests import azure_apis
from tests.fake_azure import Answer, FakeAzure, Outcome, Steps
from tests.load import Load

DEPLOYMENT = "gpt-4o-2024-08-06"
PATH = f"/openai/deployments/{DEPLOYMENT}/chat/completions"


@pytest.fixture
async def azure() -> AsyncIterator[FakeAzure]:
    async with FakeAzure(api_key="right") as server:
        yield server


async def ask(
    azure: FakeAzure, path: str = PATH, *, version: str = "2024-08-01-preview", key: str | None = "right", **body: Any
) -> tuple[int, str]:
    headers = {} if key is None else {"api-key": key}
    params = {"api-version": version} if version else {}
    async with (
        aiohttp.ClientSession() as session,
        session.post(azure.url + path, params=params, headers=headers, json=body) as response,
    ):
        return response.status, await response.text()


async def test_it_answers_a_call_as_azure_is_called(azure: FakeAzure):
    status, text = await ask(azure)
    assert (status, azure.count) == (200, 1)
    assert "pong" in text


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"key": None}, 401, "401"),
        ({"key": "wrong"}, 401, "401"),
        ({"version": ""}, 404, "404"),
        ({"path": "/openai/deployments/other/chat/completions"}, 404, "DeploymentNotFound"),
        ({"path": "/chat/completions"}, 404, "404"),
        ({"path": f"/openai/deployments/{DEPLOYMENT}/fine_tuning"}, 404, "404"),
        ({"path": "/openai/responses", "model": "other"}, 404, "DeploymentNotFound"),
    ],
)
async def test_it_refuses_and_counts_what_azure_refuses(
    azure: FakeAzure, change: dict[str, Any], status: int, code: str
):
    got, text = await ask(azure, **change)
    assert got == status
    assert f'"code": "{code}"' in text
    assert len(azure.ended(Outcome.REFUSED)) == azure.count == 1


@pytest.mark.parametrize("api", sorted(azure_apis.DOCUMENTS.keys() - {"responses"}))
async def test_a_deployment_answers_in_the_words_of_the_api_that_was_called(azure: FakeAzure, api: str):
    status, text = await ask(azure, f"/openai/deployments/{DEPLOYMENT}/{api}", input="ping")
    asked = azure_apis.Request({"input": "ping"}, DEPLOYMENT, 1, "pong")
    assert (status, json.loads(text)) == (200, azure_apis.DOCUMENTS[api](asked))


async def test_responses_are_no_deployments_but_name_one(azure: FakeAzure):
    status, text = await ask(azure, "/openai/responses", model=DEPLOYMENT, input="ping")
    assert (status, json.loads(text)["output"][0]["content"][0]["text"]) == (200, "pong")


async def test_a_form_is_remembered_by_its_fields(azure: FakeAzure):
    form = aiohttp.FormData({"language": "en"})
    form.add_field("file", b"\x00sound", filename="a.mp3", content_type="audio/mpeg")
    url = f"{azure.url}/openai/deployments/{DEPLOYMENT}/audio/transcriptions?api-version=1"
    async with aiohttp.ClientSession() as session, session.post(url, data=form, headers={"api-key": "right"}) as answer:
        assert await answer.json() == {"text": "pong"}
    assert azure.requests[0].body == {"language": "en", "file": b"\x00sound"}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_is_offered_a_tool_calls_it_once(azure: FakeAzure, stream: bool):
    tool = {"type": "function", "function": {"name": "weather"}}
    turns: list[dict[str, str]] = [{"role": "user", "content": "ping"}]
    _status, text = await ask(azure, messages=turns, tools=[tool], stream=stream)
    assert '"name": "weather"' in text
    assert '"finish_reason": "tool_calls"' in text
    turns.append({"role": "tool", "content": "snow"})
    _status, text = await ask(azure, messages=turns, tools=[tool], stream=stream)
    assert '"finish_reason": "stop"' in text
    assert "pong" in text


async def test_a_stream_with_steps_sends_a_chunk_only_when_released(azure: FakeAzure):
    steps = Steps()
    azure.answer = Answer(chunks=3, steps=steps)
    asking = asyncio.create_task(ask(azure, stream=True))
    steps.release()
    await azure.reached(lambda server: server.count == 1 and server.requests[0].sent == 1)
    assert not asking.done()
    steps.release_all()
    status, text = await asking
    assert status == 200
    assert text.endswith("data: [DONE]\n\n")


async def test_it_knows_that_a_client_left(azure: FakeAzure):
    azure.answer = Answer(hang=True)
    asking = asyncio.create_task(ask(azure))
    await azure.reached(lambda server: server.count == 1)
    asking.cancel()
    await azure.reached(lambda server: len(server.ended(Outcome.CLIENT_GONE)) == 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_load_ends_by_itself_and_records_every_request(azure: FakeAzure, stream: bool):
    load = Load(
        azure.url,
        clients=4,
        requests=40,
        stream=stream,
        headers={"Authorization": "Bearer right"},
        path="/v1/chat/completions",
    )
    await load.run()
    assert len(load.results) == azure.count == 40
    assert not load.failed, load.summary()
    assert {result.text.split("-")[0] for result in load.results} == {"pong"}


async def test_the_load_calls_a_cut_stream_failed(azure: FakeAzure):
    steps = Steps()
    steps.release()
    azure.answer = Answer(chunks=3, steps=steps)
    bearer = {"Authorization": "Bearer right"}
    async with Load(azure.url, clients=1, requests=1, stream=True, headers=bearer, path="/v1/chat/completions") as load:
        await azure.reached(lambda server: server.count == 1 and server.requests[0].sent == 1)
        await azure.__aexit__(None, None, None)
    assert [(result.status, result.complete) for result in load.failed] == [(200, False)]
