"""OpenAI's Node client, unmodified, through the balancer and LiteLLM; and ChatSheetAI's own calls, without any client.

What the client does stands in tests/sdk/scenarios.mjs, one scenario for each test here.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests import azure_apis, node_sdk
from tests.daemon import Daemon
from tests.fake_azure import Answer, FakeAzure, Outcome, Steps, chunk_texts
from tests.sdk_pool import SdkPool

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLED = {"name": "weather", "arguments": azure_apis.ARGUMENTS}
RECORDING = b"sound" * 320_000


class Scenarios:
    """Runs one with the pool's key, to its end."""

    def __init__(self, pool: SdkPool) -> None:
        self._environment = {"LITELLM_API_BASE": pool.url, "OPENAI_API_KEY": pool.key}

    def running(self, name: str) -> Any:
        return node_sdk.running("scenarios.mjs", name, environment=self._environment)

    async def result(self, name: str) -> Any:
        async with self.running(name) as program:
            return await program.result()


@pytest.fixture
def node(sdk_pool: SdkPool) -> Scenarios:
    return Scenarios(sdk_pool)


@pytest.fixture(autouse=True)
def _here(request: pytest.FixtureRequest) -> None:
    node_sdk.require(packages="node" in request.fixturenames)


async def test_chatsheetai_gets_its_answers_with_the_guides_settings_and_no_key(pool: Daemon, azure: FakeAzure):
    environment = {"LITELLM_API_BASE": pool.url, "LITELLM_MODEL": "gpt-4"}
    async with node_sdk.running("chatsheetai.mjs", environment=environment) as program:
        got = await program.line()
    assert got["health"]["status"] == 200
    assert got["health"]["document"]["healthy_count"] == 3
    assert got["chat"]["status"] == 200, got["chat"]
    assert got["chat"]["document"]["choices"][0]["message"]["content"] == "pong"
    assert got["stream"]["status"] == 200
    assert got["stream"]["events"].endswith("data: [DONE]\n\n")
    assert [seen.headers["api-key"] for seen in azure.requests] == [azure.api_key] * 2


async def test_chat(node: Scenarios, azure: FakeAzure):
    got = await node.result("chat")
    assert (got["text"], got["tokens"]) == ("pong", 8)
    assert got["id"], "what a bug report names"
    assert azure.requests[0].headers["api-key"] == azure.api_key


async def test_a_base_url_without_v1(node: Scenarios):
    assert await node.result("baseWithoutV1") == "pong"


async def test_a_chat_stream_arrives_chunk_by_chunk(node: Scenarios, azure: FakeAzure):
    steps = Steps()
    azure.answer = answer = Answer(chunks=3, steps=steps)
    steps.release()
    async with node.running("stream") as program:
        for number, text in enumerate(chunk_texts(answer), start=1):
            assert await program.until("text") == {"text": text, "count": number}
            assert azure.requests[0].sent == number
            steps.release()
        assert await program.result() == 3


async def test_a_tool_is_called_and_its_result_answered(node: Scenarios, azure: FakeAzure):
    assert await node.result("tools") == {"called": CALLED, "text": "pong"}
    assert azure.requests[1].body["messages"][-1]["content"] == "snow"


async def test_the_clients_own_loop_over_streamed_tool_calls(node: Scenarios, azure: FakeAzure):
    azure.answer = answer = Answer(chunks=3)
    assert await node.result("streamedTools") == {"result": "snow in Tromsø", "text": "".join(chunk_texts(answer))}


async def test_embeddings(node: Scenarios, azure: FakeAzure):
    assert await node.result("embeddings") == [list(azure_apis.EMBEDDING)] * 2


async def test_images(node: Scenarios):
    got = await node.result("images")
    assert base64.b64decode(got["image"]) == azure_apis.IMAGE
    assert got["prompt"] == "a harbour"


async def test_an_uploaded_recording_is_transcribed(node: Scenarios, azure: FakeAzure):
    assert await node.result("transcription") == "pong"
    assert azure.requests[0].body["file"] == RECORDING
    assert azure.requests[0].body["language"] == "en"


async def test_speech(node: Scenarios):
    assert base64.b64decode(await node.result("speech")) == azure_apis.SPEECH


async def test_moderations(node: Scenarios):
    assert await node.result("moderations") == [False]


async def test_responses(node: Scenarios, azure: FakeAzure):
    assert await node.result("responses") == {"text": "pong", "status": "completed"}
    assert azure.requests[0].path == "/openai/responses"


async def test_a_responses_stream(node: Scenarios, azure: FakeAzure):
    azure.answer = answer = Answer(chunks=3)
    assert await node.result("streamedResponses") == {"texts": chunk_texts(answer), "status": "completed"}


async def test_models(node: Scenarios):
    assert "gpt-4" in await node.result("models")


async def test_a_stream_that_is_aborted_is_closed_at_the_provider(node: Scenarios, azure: FakeAzure):
    steps = Steps()
    azure.answer = Answer(steps=steps)
    steps.release()
    async with node.running("abortStream") as program:
        await program.until("begun")
        await left(program, azure)


async def test_a_call_that_is_aborted_is_closed_at_the_provider(node: Scenarios, azure: FakeAzure):
    azure.answer = Answer(hang=True)
    async with node.running("abortCall") as program:
        await azure.reached(lambda server: server.count == 1)
        await left(program, azure)
        assert (await program.error())["name"] == "APIUserAbortError"


async def left(program: node_sdk.Program, azure: FakeAzure) -> None:
    """The provider notices that the client has left, within a second, or ten on a busy machine; its process is still there."""
    program.tell()
    await azure.reached(lambda server: server.requests[0].outcome is Outcome.CLIENT_GONE, within=10)
    program.tell()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, "BadRequestError"),
        (401, "AuthenticationError"),
        (404, "NotFoundError"),
        (429, "RateLimitError"),
        (500, "InternalServerError"),
    ],
)
async def test_the_providers_error_is_the_clients_own_exception(
    node: Scenarios, azure: FakeAzure, status: int, error: str
):
    azure.answer = Answer(status=status)
    async with node.running("onlyOnce") as program:
        raised = await program.error()
    assert (raised["name"], raised["status"]) == (error, status)
    assert "As the test wished" in raised["message"]


async def test_what_is_not_deployed_is_not_found(node: Scenarios):
    async with node.running("notDeployed") as program:
        assert (await program.error())["name"] == "NotFoundError"


async def test_a_full_pool_is_come_back_to(sdk_pool: SdkPool, node: Scenarios, azure: FakeAzure):
    async with sdk_pool.full(azure) as steps, node.running("patient") as program:
        refusal = await program.until("status")
        assert (refusal["status"], refusal["shouldRetry"]) == (503, "true")
        assert int(refusal["retryAfterMs"]) <= 1000
        steps.release_all()
        assert await program.result() == "pong"
    assert set(program.statuses[:-1]) == {503}
    assert program.statuses[-1] == 200


async def test_a_pool_that_stays_full_is_an_internal_server_error_after_the_clients_own_retries(
    sdk_pool: SdkPool, node: Scenarios, azure: FakeAzure
):
    async with sdk_pool.full(azure), node.running("plain") as program:
        raised = await program.error()
    assert (raised["name"], raised["status"], raised["code"]) == ("InternalServerError", 503, "no_replica_ready")
    assert program.statuses == [503, 503, 503]


async def test_what_was_in_flight_at_two_deaths_is_not_sent_a_third_time(
    sdk_pool: SdkPool, node: Scenarios, azure: FakeAzure
):
    azure.answer = Answer(hang=True)
    async with node.running("plain") as program:
        for deaths in (1, 2):
            await azure.reached(lambda server, calls=deaths: server.count == calls)  # type: ignore[misc]
            await sdk_pool.kill_the_one_at_work()
        raised = await program.error()
    assert (raised["name"], raised["status"], raised["code"]) == ("InternalServerError", 502, "replica_failed")
    assert program.statuses == [502]
    assert azure.count == 2


async def test_a_key_that_is_not_the_pools_is_refused_by_litellm(node: Scenarios, azure: FakeAzure):
    async with node.running("wrongKey") as program:
        raised = await program.error()
    assert raised["name"] == "BadRequestError"
    assert "No connected db" in raised["message"]
    assert azure.count == 0, azure.requests


async def test_a_client_that_is_told_to_send_no_key_gets_the_pools(node: Scenarios):
    assert await node.result("keyless") == "pong"
