"""A bounded load of chat completions, and a record of what became of each request.

async with Load(url, clients=8) as load:
    await load.finished_at_least(100)
    os.kill(replica, signal.SIGKILL)
    await load.finished_at_least(300)
assert not load.failed
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp

REPLICA_HEADER = "x-litesup-replica"
PATH = "/chat/completions"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one request. Times are monotonic seconds.

    `status` is 0 when no response began, and `error` then says why. `complete` is true when the response ended as its
    framing says and, for a stream, with its last event. `text` is the answer's text, or the body of an error.
    """

    client: int
    started: float
    first_byte: float | None
    finished: float
    status: int
    replica: str | None
    complete: bool
    text: str
    error: str = ""

    @property
    def succeeded(self) -> bool:
        return self.status == 200 and self.complete

    @property
    def seconds(self) -> float:
        return self.finished - self.started


@dataclass(slots=True)
class _Attempt:
    """A request under way: what is known of it so far."""

    client: int
    started: float = field(default_factory=time.monotonic)
    first_byte: float | None = None
    status: int = 0
    replica: str | None = None
    complete: bool = False
    text: str = ""
    error: str = ""

    def result(self) -> Result:
        return Result(
            client=self.client,
            started=self.started,
            first_byte=self.first_byte,
            finished=time.monotonic(),
            status=self.status,
            replica=self.replica,
            complete=self.complete,
            text=self.text,
            error=self.error,
        )


class Load:
    """`clients` keep-alive connections, each sending one request after another until the block ends.

    It ends by itself after `requests` in all or `seconds`, whichever comes first. A request that is under way when the
    block ends is waited for, `patience` seconds at most.
    """

    def __init__(
        self,
        url: str,
        *,
        clients: int = 8,
        requests: int = 20_000,
        seconds: float = 60.0,
        stream: bool = False,
        model: str = "gpt-4",
        prompt: str = "ping",
        headers: Mapping[str, str] | None = None,
        path: str = PATH,
        patience: float = 30.0,
    ) -> None:
        self.results: list[Result] = []
        self.started = 0
        self._url = url + path
        self._clients = clients
        self._requests = requests
        self._seconds = seconds
        self._body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": prompt}]}
        if stream:
            self._body["stream"] = True
        self._headers = dict(headers or {})
        self._patience = patience
        self._deadline = 0.0
        self._stopping = False
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._deadline = time.monotonic() + self._seconds
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(self._clients)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        _, late = await asyncio.wait(self._tasks, timeout=self._patience)
        for task in late:
            task.cancel()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
        if late and error is None:
            raise AssertionError(f"{len(late)} requests had no answer after {self._patience:g} s; {self.summary()}")

    async def run(self) -> Self:
        """The whole bounded load, to its own end."""
        async with self:
            await asyncio.wait(self._tasks)
        return self

    @property
    def failed(self) -> list[Result]:
        return [result for result in self.results if not result.succeeded]

    async def finished_at_least(self, number: int, within: float = 60.0) -> None:
        """Returns when that many more requests than now have finished."""
        goal = len(self.results) + number
        await self._until(lambda: len(self.results) >= goal, f"{number} more requests", within)

    async def served_by(self, replicas: int, within: float = 60.0) -> None:
        """Returns when so many replicas have answered; a new one is spared at first, so that may take a while."""
        await self._until(lambda: len(self.per_replica()) >= replicas, f"{replicas} replicas had answered", within)

    async def _until(self, so: Callable[[], bool], what: str, within: float) -> None:
        async with asyncio.timeout(within):
            while not so():
                if all(task.done() for task in self._tasks):
                    raise AssertionError(f"the load ended before {what}; {self.summary()}")
                await self._changed.wait()

    def per_replica(self) -> Counter[str | None]:
        """How many answers came from each replica."""
        return Counter(result.replica for result in self.results)

    def summary(self) -> str:
        """One line for a person."""
        seconds = sorted(result.seconds for result in self.results) or [0.0]
        kinds = Counter(
            "ok" if result.succeeded else f"{result.status or result.error}{'' if result.complete else ' cut'}"
            for result in self.results
        )
        return (
            f"{len(self.results)} requests: {dict(kinds)}; median {statistics.median(seconds) * 1000:.1f} ms, "
            f"p99 {seconds[int(len(seconds) * 0.99)] * 1000:.1f} ms, max {seconds[-1] * 1000:.0f} ms; "
            f"per replica {dict(self.per_replica())}"
        )

    async def _client(self, number: int) -> None:
        connector = aiohttp.TCPConnector(limit=1, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            while not self._stopping and self.started < self._requests and time.monotonic() < self._deadline:
                self.started += 1
                self.results.append(await self._one(session, number))
                changed, self._changed = self._changed, asyncio.Event()
                changed.set()

    async def _one(self, session: aiohttp.ClientSession, client: int) -> Result:
        attempt = _Attempt(client)
        try:
            async with session.post(self._url, json=self._body, headers=self._headers) as response:
                attempt.status = response.status
                attempt.replica = response.headers.get(REPLICA_HEADER)
                if response.content_type == "text/event-stream":
                    await _read_stream(response, attempt)
                else:
                    await _read_plain(response, attempt)
        except (aiohttp.ClientError, ConnectionError) as error:
            attempt.error = f"{type(error).__name__}: {error}"
        return attempt.result()


async def _read_plain(response: aiohttp.ClientResponse, attempt: _Attempt) -> None:
    raw = bytearray()
    async for piece in response.content.iter_any():
        attempt.first_byte = attempt.first_byte or time.monotonic()
        raw += piece
    attempt.complete = True
    attempt.text = raw.decode(errors="replace")
    if response.status == 200:
        attempt.text = json.loads(raw)["choices"][0]["message"]["content"]


async def _read_stream(response: aiohttp.ClientResponse, attempt: _Attempt) -> None:
    done = False
    async for line in response.content:
        attempt.first_byte = attempt.first_byte or time.monotonic()
        if not line.startswith(b"data: "):
            continue
        data = line[len(b"data: ") :].strip()
        if data == b"[DONE]":
            done = True
            continue
        document = json.loads(data)
        if "error" in document:
            attempt.error = str(document["error"])
            continue
        for choice in document.get("choices", ()):
            attempt.text += choice.get("delta", {}).get("content") or ""
    attempt.complete = done and not attempt.error
