"""A stand-in for Azure OpenAI that insists on what the real one insists on.

It answers only `POST /openai/deployments/{deployment}/…?api-version=…` and `POST /openai/responses?api-version=…`, with the
right `api-key` header, as JSON, a stream or sound, and refuses everything else in Azure's way. Under `/v1/…` it also
speaks plain OpenAI, with a bearer token. Which APIs it has, and in what words, is `azure_apis`'s. It remembers every
request, refused ones included, so that a test can say what reached the provider and what did not.

    async with FakeAzure(api_key="secret", deployments=["gpt-4o"]) as azure:
        azure.answer = Answer(chunks=20, pause=0.01)
        ...
        assert azure.count == 1
"""

from __future__ import annotations

import asyncio
import enum
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.azure_apis import DOCUMENTS, SPEECH, SPEECH_PATH, STREAMS, Request, Stream

Document = dict[str, Any]


class Outcome(enum.Enum):
    """How a request ended, seen from the provider."""

    OPEN = "open"
    ANSWERED = "answered"
    REFUSED = "refused"
    CLIENT_GONE = "client gone"


@dataclass(slots=True)
class Seen:
    """One request as it arrived. `at` is monotonic seconds, `sent` the number of chunks sent so far.

    `body` is its JSON document, or the fields of its form, in which a file is its bytes.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Document
    at: float
    sent: int = 0
    outcome: Outcome = Outcome.OPEN

    @property
    def streamed(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def prompt(self) -> str:
        """The text of the last message."""
        messages = self.body.get("messages") or [{}]
        return str(messages[-1].get("content", ""))


class Steps:
    """Lets a test decide when each chunk is sent, to every stream that was given these steps."""

    def __init__(self) -> None:
        self._released = 0
        self._changed = asyncio.Event()

    def release(self, chunks: int = 1) -> None:
        """Allows that many more chunks."""
        self._released += chunks
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def release_all(self) -> None:
        self.release(1_000_000)

    async def turn(self, number: int) -> None:
        """Returns when chunk `number` (from 0) may be sent; the end counts as one more chunk."""
        while number >= self._released:
            await self._changed.wait()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets. Times are in seconds.

    `delay` passes before the first byte, `pause` between two chunks. With `steps`, chunks wait for the test instead.
    `hang` never answers. A `status` other than 200 is answered in Azure's error shape.
    """

    text: str = "pong"
    status: int = 200
    delay: float = 0.0
    chunks: int = 5
    pause: float = 0.0
    steps: Steps | None = None
    hang: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


def chunk_texts(answer: Answer) -> list[str]:
    """The pieces of text that a stream of this answer carries, in order."""
    return [f"{answer.text}-{number} " for number in range(answer.chunks)]


class FakeAzure:
    """The fake provider, on an ephemeral port of the loopback interface, in the caller's event loop.

    `answer` is what every request gets; `choose`, where set, decides by the request.
    """

    def __init__(
        self,
        *,
        api_key: str = "the-azure-key",
        deployments: Sequence[str] = ("gpt-4o-2024-08-06",),
        answer: Answer | None = None,
    ) -> None:
        self.api_key = api_key
        self.deployments = tuple(deployments)
        self.answer = answer or Answer()
        self.choose: Callable[[Seen], Answer] | None = None
        self.requests: list[Seen] = []
        self._numbers = itertools.count(1)
        self._runner: web.AppRunner | None = None
        self._changed = asyncio.Event()
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/openai/deployments/{deployment}/{api:.+}", self._azure)
        app.router.add_post("/openai/{api:responses}", self._azure)
        app.router.add_post("/v1/{api:.+}", self._openai)
        app.router.add_get("/v1/models", self._models)
        app.router.add_route("*", "/{anything:.*}", self._elsewhere)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, backlog=512)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def count(self) -> int:
        """How many requests arrived, refused ones included."""
        return len(self.requests)

    def ended(self, outcome: Outcome) -> list[Seen]:
        return [seen for seen in self.requests if seen.outcome is outcome]

    async def reached(self, condition: Callable[[Self], bool], within: float = 30.0) -> None:
        """Returns when `condition` holds; looked at whenever a request arrives, sends a chunk or ends."""
        async with asyncio.timeout(within):
            while not condition(self):
                await self._changed.wait()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _see(self, request: web.Request) -> Seen:
        body = await _body(request)
        seen = Seen(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
            at=time.monotonic(),
        )
        self.requests.append(seen)
        self._notify()
        return seen

    async def _azure(self, request: web.Request) -> web.StreamResponse:
        seen = await self._see(request)
        if not seen.query.get("api-version"):
            return self._refuse(seen, 404, "404", "Resource not found")
        if seen.headers.get("api-key") != self.api_key:
            return self._refuse(seen, 401, "401", "Access denied: invalid subscription key or wrong endpoint.")
        if request.match_info.get("deployment", seen.body.get("model")) not in self.deployments:
            return self._refuse(seen, 404, "DeploymentNotFound", "The API deployment for this resource does not exist.")
        return await self._answer(request, seen)

    async def _openai(self, request: web.Request) -> web.StreamResponse:
        seen = await self._see(request)
        if seen.headers.get("authorization") != f"Bearer {self.api_key}":
            return self._refuse(seen, 401, "invalid_api_key", "Incorrect API key provided.")
        return await self._answer(request, seen)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        """LiteLLM asks for this whenever it starts with a model of OpenAI's: no call, and not remembered."""
        return web.json_response({"object": "list", "data": []})

    async def _elsewhere(self, request: web.Request) -> web.StreamResponse:
        return self._refuse(await self._see(request), 404, "404", "Resource not found")

    def _refuse(self, seen: Seen, status: int, code: str, message: str) -> web.Response:
        seen.outcome = Outcome.REFUSED
        self._notify()
        return web.json_response({"error": {"code": code, "message": message}}, status=status)

    async def _answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        answer = self.choose(seen) if self.choose is not None else self.answer
        api = request.match_info["api"]
        if api not in DOCUMENTS and api != SPEECH_PATH:
            return self._refuse(seen, 404, "404", "Resource not found")
        asked = Request(seen.body, self._model(seen), next(self._numbers), answer.text)
        try:
            if answer.hang:
                await asyncio.get_running_loop().create_future()
            await asyncio.sleep(answer.delay)
            response: web.StreamResponse
            if answer.status != 200:
                response = web.json_response(
                    {"error": {"code": str(answer.status), "message": "As the test wished."}},
                    status=answer.status,
                    headers=answer.headers,
                )
            elif api == SPEECH_PATH:
                response = web.Response(body=SPEECH, content_type="audio/mpeg", headers=answer.headers)
            elif seen.streamed and api in STREAMS:
                response = await self._stream(request, seen, answer, STREAMS[api](asked, chunk_texts(answer)))
            else:
                response = web.json_response(DOCUMENTS[api](asked), headers=answer.headers)
        except (asyncio.CancelledError, ConnectionError):
            seen.outcome = Outcome.CLIENT_GONE
            raise
        else:
            seen.outcome = Outcome.ANSWERED
            return response
        finally:
            self._notify()

    async def _stream(self, request: web.Request, seen: Seen, answer: Answer, stream: Stream) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **answer.headers})
        await response.prepare(request)
        async for event in self._events(answer, stream):
            await response.write(event)
            seen.sent += 1
            self._notify()
        await response.write_eof()
        return response

    async def _events(self, answer: Answer, stream: Stream) -> AsyncIterator[bytes]:
        for position, piece in enumerate(stream.pieces):
            if answer.steps is not None:
                await answer.steps.turn(position)
            elif position:
                await asyncio.sleep(answer.pause)
            yield piece
        if answer.steps is not None:
            await answer.steps.turn(len(stream.pieces))
        for event in stream.closing:
            yield event

    def _model(self, seen: Seen) -> str:
        return str(seen.body.get("model") or self.deployments[0])


async def _body(request: web.Request) -> Document:
    """A JSON document, or a form's fields; empty where it is neither."""
    if request.content_type == "multipart/form-data":
        form = await request.post()
        return {name: value.file.read() if isinstance(value, web.FileField) else value for name, value in form.items()}
    raw = await request.read()
    try:
        document = json.loads(raw) if raw else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def prompts(requests: Iterable[Seen]) -> list[str]:
    """The text of each request's last message, in order of arrival."""
    return [seen.prompt for seen in requests]
