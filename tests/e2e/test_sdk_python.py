"""OpenAI's Python client, unmodified, through the balancer and LiteLLM: every API, its errors, and when it tries again.

What it was answered is read from its HTTP client's own hooks, so that the repetitions that it keeps to itself show.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from tests import azure_apis
from tests.daemon import free_port
from tests.fake_azure import Answer, FakeAzure, Outcome, Steps, chunk_texts
from tests.processes import kill
from tests.sdk_pool import SdkPool

pytestmark = pytest.mark.asyncio(loop_scope="session")

PING: list[ChatCompletionMessageParam] = [{"role": "user", "content": "ping"}]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@dataclass(slots=True)
class Answered:
    """Every response that clients got, the ones that they did not show included."""

    responses: list[httpx.Response] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def statuses(self) -> list[int]:
        return [response.status_code for response in self.responses]

    async def note(self, response: httpx.Response) -> None:
        self.responses.append(response)
        self.changed.set()


@pytest.fixture
def answered() -> Answered:
    return Answered()


@pytest_asyncio.fixture(loop_scope="session")
async def api(sdk_pool: SdkPool, answered: Answered) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client as its documentation makes one, with the pool's key."""
    http = openai.DefaultAsyncHttpxClient(event_hooks={"response": [answered.note]})
    async with openai.AsyncOpenAI(base_url=f"{sdk_pool.url}/v1", api_key=sdk_pool.key, http_client=http) as client:
        yield client


async def test_chat(api: openai.AsyncOpenAI, azure: FakeAzure):
    completion = await api.chat.completions.create(model="gpt-4", messages=PING, temperature=0.5)
    assert completion.choices[0].message.content == "pong"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 8
    assert completion._request_id, "what a bug report names"
    assert azure.requests[0].body["temperature"] == 0.5
    assert azure.requests[0].headers["api-key"] == azure.api_key


async def test_chat_with_the_synchronous_client_and_a_base_url_without_v1(sdk_pool: SdkPool, azure: FakeAzure):
    def ask() -> str | None:
        with openai.OpenAI(base_url=sdk_pool.url, api_key=sdk_pool.key) as client:
            return client.chat.completions.create(model="gpt-4", messages=PING).choices[0].message.content

    assert await asyncio.to_thread(ask) == "pong"


async def test_a_chat_stream_arrives_chunk_by_chunk(api: openai.AsyncOpenAI, azure: FakeAzure):
    steps = Steps()
    azure.answer = answer = Answer(chunks=3, steps=steps)
    steps.release()
    stream = await api.chat.completions.create(
        model="gpt-4", messages=PING, stream=True, stream_options={"include_usage": True}
    )
    texts, usage = [], None
    async for chunk in stream:
        usage = chunk.usage or usage
        if chunk.choices and chunk.choices[0].delta.content:
            texts.append(chunk.choices[0].delta.content)
            assert azure.requests[0].sent == len(texts)
            steps.release()
    assert texts == chunk_texts(answer)
    assert usage is not None
    assert usage.total_tokens == 8


async def test_a_tool_is_called_and_its_result_answered(api: openai.AsyncOpenAI, azure: FakeAzure):
    first = await api.chat.completions.create(model="gpt-4", messages=PING, tools=[WEATHER])
    assert first.choices[0].finish_reason == "tool_calls"
    assert first.choices[0].message.tool_calls is not None
    (call,) = first.choices[0].message.tool_calls
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("weather", azure_apis.ARGUMENTS)
    result: ChatCompletionMessageParam = {"role": "tool", "tool_call_id": call.id, "content": "snow"}
    turns = [*PING, first.choices[0].message.to_dict(), result]
    second = await api.chat.completions.create(model="gpt-4", messages=turns, tools=[WEATHER])  # type: ignore[arg-type]
    assert second.choices[0].message.content == "pong"
    assert azure.requests[1].body["messages"][-1] == result


async def test_a_streamed_tool_call_is_put_together(api: openai.AsyncOpenAI, azure: FakeAzure):
    async with api.chat.completions.stream(model="gpt-4", messages=PING, tools=[WEATHER]) as stream:
        kinds = [event.type async for event in stream]
        completion = await stream.get_final_completion()
    assert kinds.count("tool_calls.function.arguments.delta") >= 5
    (call,) = completion.choices[0].message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("weather", azure_apis.ARGUMENTS)


@pytest.mark.parametrize("encoding", ["float", "base64", None])
async def test_embeddings(api: openai.AsyncOpenAI, azure: FakeAzure, encoding: Any):
    """Unasked, the client wants base64 and decodes it."""
    wanted = {"encoding_format": encoding} if encoding else {}
    answer = await api.embeddings.create(model="text-embedding-3-small", input=["one", "two"], **wanted)
    vectors: list[Any] = [entry.embedding for entry in answer.data]
    expected: Any = list(azure_apis.EMBEDDING)
    if encoding == "base64":
        expected = base64.b64encode(azure_apis.packed(azure_apis.EMBEDDING)).decode()
    assert vectors == [expected, expected]
    assert azure.requests[0].path == "/openai/deployments/text-embedding-3-small/embeddings"


async def test_images(api: openai.AsyncOpenAI, azure: FakeAzure):
    answer = await api.images.generate(model="dall-e-3", prompt="a harbour", response_format="b64_json")
    assert answer.data is not None
    assert base64.b64decode(answer.data[0].b64_json or "") == azure_apis.IMAGE
    assert answer.data[0].revised_prompt == "a harbour"


async def test_an_uploaded_recording_is_transcribed(api: openai.AsyncOpenAI, azure: FakeAzure):
    recording = azure_apis.SPEECH * 100  # 1.6 MB
    answer = await api.audio.transcriptions.create(model="whisper-1", file=("höre.mp3", recording), language="en")
    assert answer.text == "pong"
    assert azure.requests[0].body["file"] == recording
    assert azure.requests[0].body["language"] == "en"


async def test_speech(api: openai.AsyncOpenAI, azure: FakeAzure):
    async with api.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="hello") as answer:
        assert await answer.read() == azure_apis.SPEECH
    assert azure.requests[0].body["input"] == "hello"


async def test_moderations(api: openai.AsyncOpenAI, azure: FakeAzure):
    answer = await api.moderations.create(model="omni-moderation-latest", input="hello")
    assert [result.flagged for result in answer.results] == [False]


async def test_responses(api: openai.AsyncOpenAI, azure: FakeAzure):
    answer = await api.responses.create(model="gpt-4", input="ping")
    assert answer.output_text == "pong"
    assert answer.status == "completed"
    assert azure.requests[0].path == "/openai/responses"


async def test_a_responses_stream(api: openai.AsyncOpenAI, azure: FakeAzure):
    azure.answer = answer = Answer(chunks=3)
    async with api.responses.stream(model="gpt-4", input="ping") as stream:
        texts = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert texts == chunk_texts(answer)
    assert final.status == "completed"


async def test_a_responses_stream_that_calls_a_tool(api: openai.AsyncOpenAI, azure: FakeAzure):
    function: Any = {"type": "function", **WEATHER["function"]}
    stream = await api.responses.create(model="gpt-4", input="ping", tools=[function], stream=True)
    events = [event async for event in stream]
    (done,) = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert done.arguments == azure_apis.ARGUMENTS
    assert events[-1].type == "response.completed"


async def test_models(api: openai.AsyncOpenAI):
    assert "gpt-4" in [model.id async for model in api.models.list()]
    assert (await api.models.retrieve("gpt-4")).id == "gpt-4"


@pytest.mark.parametrize("dialect", ["chat", "responses"])
async def test_a_stream_that_is_closed_half_way_is_closed_at_the_provider(
    api: openai.AsyncOpenAI, azure: FakeAzure, dialect: str
):
    steps = Steps()
    azure.answer = Answer(steps=steps)
    steps.release(2)
    stream: openai.AsyncStream[Any]
    if dialect == "chat":
        stream = await api.chat.completions.create(model="gpt-4", messages=PING, stream=True)
    else:
        stream = await api.responses.create(model="gpt-4", input="ping", stream=True)
    await anext(aiter(stream))
    await stream.close()
    await left(azure)


async def test_a_call_that_is_given_up_is_closed_at_the_provider(api: openai.AsyncOpenAI, azure: FakeAzure):
    azure.answer = Answer(hang=True)
    asking = asyncio.create_task(api.chat.completions.create(model="gpt-4", messages=PING))
    await azure.reached(lambda server: server.count == 1)
    asking.cancel()
    await left(azure)


async def left(azure: FakeAzure) -> None:
    """The provider notices that the client has gone: within a second, and within ten on a machine that is busy."""
    await azure.reached(lambda server: server.requests[0].outcome is Outcome.CLIENT_GONE, within=10)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
async def test_the_providers_error_is_the_clients_own_exception(
    api: openai.AsyncOpenAI, azure: FakeAzure, status: int, error: type[openai.APIStatusError]
):
    azure.answer = Answer(status=status)
    with pytest.raises(error) as raised:
        await api.with_options(max_retries=0).chat.completions.create(model="gpt-4", messages=PING)
    assert raised.value.status_code == status
    assert "As the test wished" in raised.value.message


async def test_what_is_not_deployed_is_not_found(api: openai.AsyncOpenAI, azure: FakeAzure):
    with pytest.raises(openai.NotFoundError, match="deployment"):
        await api.chat.completions.create(model="not-deployed", messages=PING)


async def test_a_model_that_the_pool_does_not_have_is_refused_without_a_call(api: openai.AsyncOpenAI, azure: FakeAzure):
    with pytest.raises(openai.BadRequestError, match="no-such-model"):
        await api.chat.completions.create(model="no-such-model", messages=PING)
    assert azure.count == 0, azure.requests


async def test_the_providers_rate_limit_is_waited_for(api: openai.AsyncOpenAI, azure: FakeAzure, answered: Answered):
    limits = iter([Answer(status=429, headers={"retry-after-ms": "10"})])
    azure.choose = lambda seen: next(limits, Answer())
    completion = await api.chat.completions.create(model="gpt-4", messages=PING)
    assert completion.choices[0].message.content == "pong"
    assert answered.statuses == [429, 200]


async def test_a_full_pool_is_come_back_to(
    sdk_pool: SdkPool, api: openai.AsyncOpenAI, azure: FakeAzure, answered: Answered
):
    async with sdk_pool.full(azure) as steps:
        patient = api.with_options(max_retries=20)
        asking = asyncio.create_task(patient.chat.completions.create(model="gpt-4", messages=PING))
        await asyncio.wait_for(answered.changed.wait(), 30)
        refusal = answered.responses[0]
        assert (refusal.status_code, refusal.headers["x-should-retry"]) == (503, "true")
        assert int(refusal.headers["retry-after-ms"]) <= 1000
        steps.release_all()
        assert (await asking).choices[0].message.content == "pong"
    assert set(answered.statuses[:-1]) == {503}
    assert answered.statuses[-1] == 200


async def test_a_pool_that_stays_full_is_an_internal_server_error_after_the_clients_own_retries(
    sdk_pool: SdkPool, api: openai.AsyncOpenAI, azure: FakeAzure, answered: Answered
):
    async with sdk_pool.full(azure):
        with pytest.raises(openai.InternalServerError, match="litesup") as raised:
            await api.chat.completions.create(model="gpt-4", messages=PING)
        assert raised.value.code == "no_replica_ready"
    assert answered.statuses == [503, 503, 503]


async def test_every_replica_is_killed_and_the_client_gets_its_answer_all_the_same(
    sdk_pool: SdkPool, api: openai.AsyncOpenAI, azure: FakeAzure
):
    await kill(*[entry["pid"] for entry in (await sdk_pool.status())["replicas"]])
    completion = await api.with_options(max_retries=60).chat.completions.create(model="gpt-4", messages=PING)
    assert completion.choices[0].message.content == "pong"


async def test_what_was_in_flight_at_two_deaths_is_not_sent_a_third_time(
    sdk_pool: SdkPool, api: openai.AsyncOpenAI, azure: FakeAzure, answered: Answered
):
    azure.answer = Answer(hang=True)
    asking = asyncio.create_task(api.chat.completions.create(model="gpt-4", messages=PING))
    for deaths in (1, 2):
        await azure.reached(lambda server, calls=deaths: server.count == calls)  # type: ignore[misc]
        await sdk_pool.kill_the_one_at_work()
    with pytest.raises(openai.InternalServerError) as raised:
        await asking
    assert (raised.value.status_code, raised.value.code) == (502, "replica_failed")
    assert answered.statuses == [502]
    assert azure.count == 2, azure.requests


async def test_nobody_listens(sdk_pool: SdkPool):
    address = f"http://127.0.0.1:{free_port()}/v1"
    async with openai.AsyncOpenAI(base_url=address, api_key=sdk_pool.key, max_retries=0) as client:
        with pytest.raises(openai.APIConnectionError):
            await client.models.list()


async def test_a_key_that_is_not_the_pools_is_refused_by_litellm(sdk_pool: SdkPool, azure: FakeAzure):
    """Without a database it knows the pool's key only, and says so in its own way."""
    async with openai.AsyncOpenAI(base_url=f"{sdk_pool.url}/v1", api_key="sk-anything") as client:
        with pytest.raises(openai.BadRequestError, match="No connected db"):
            await client.chat.completions.create(model="gpt-4", messages=PING)
    assert azure.count == 0, azure.requests


async def test_the_clients_own_variables_are_enough(
    sdk_pool: SdkPool, azure: FakeAzure, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_BASE_URL", f"{sdk_pool.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", sdk_pool.key)
    async with openai.AsyncOpenAI() as client:
        completion = await client.chat.completions.create(model="gpt-4", messages=PING)
    assert completion.choices[0].message.content == "pong"


async def test_a_client_that_is_told_to_send_no_key_gets_the_pools(sdk_pool: SdkPool, azure: FakeAzure):
    async with openai.AsyncOpenAI(base_url=f"{sdk_pool.url}/v1", api_key="unused") as client:
        completion = await client.chat.completions.create(
            model="gpt-4", messages=PING, extra_headers={"Authorization": openai.Omit()}
        )
    assert completion.choices[0].message.content == "pong"
