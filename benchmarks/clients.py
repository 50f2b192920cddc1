"""Clients of a chat completion endpoint, in a process of their own: so many keep-alive connections in a closed loop.

    async with clients(Work(url, headers, connections=8, stream=True)) as told: ...
    told = await load(Work(url, headers, connections=64, seconds=4.0))

Written on uvloop and httptools, so that what it takes from the machine is small beside a LiteLLM, and the same for
every side. Each client sends its next request when the last answer is complete (after `pause`, where that is set),
opens a new connection where the server closed the last one, and leaves nothing out: what became of each request is
one of the outcomes below. What is asked, credentials included, comes over standard input and is on no command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from time import perf_counter as clock  # uvloop's own has milliseconds only
from typing import cast
from urllib.parse import urlsplit

import httptools
import uvloop

ANSWERED = "answered"  # 200, complete as its framing says, and a stream with its last event
CUT = "cut"  # a stream that began, and ended without its last event
PATIENCE = 60.0  # seconds for one answer
AGAIN_AFTER = 0.05  # seconds after a failure, so that a refused connection is not a busy loop
DONE = b"data: [DONE]"


@dataclass(frozen=True, slots=True)
class Work:
    """What the clients do. Only what ends between `warm_up` and `seconds` after it is counted; 0 seconds: until told.

    With `requests`, it ends after so many in all. Times in seconds.
    """

    url: str
    headers: Mapping[str, str]
    connections: int = 1
    stream: bool = False
    model: str = "gpt-4"
    seconds: float = 0.0
    warm_up: float = 0.0
    requests: int = 0
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Told:
    """What became of it: how often each outcome, and how long each answered request took, sorted, in seconds."""

    seconds: float
    outcomes: Mapping[str, int]
    latencies: list[float] = field(default_factory=list)

    @property
    def answered(self) -> int:
        return self.outcomes.get(ANSWERED, 0)

    @property
    def cut(self) -> int:
        return self.outcomes.get(CUT, 0)

    @property
    def failed(self) -> int:
        """Neither answered nor cut."""
        return sum(self.outcomes.values()) - self.answered - self.cut

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answered / self.seconds

    def quantile(self, share: float) -> float:
        """Seconds within which this share of the answers was complete."""
        if not self.latencies:
            raise ValueError(f"no request was answered: {dict(self.outcomes)}")
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * share))]


class Books:
    """What has become of the requests so far, and whether there is more to do. Times are of one clock."""

    def __init__(self, work: Work, now: float) -> None:
        self.work = work
        self.outcomes: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.counted_from = now + work.warm_up
        self.counted_until = self.counted_from + work.seconds if work.seconds else float("inf")
        self.stopping = False
        self._begun = 0

    def another(self, now: float) -> bool:
        """Whether one more request is to be sent; if so, it is taken for sent."""
        if self.stopping or now >= self.counted_until or 0 < self.work.requests <= self._begun:
            return False
        self._begun += 1
        return True

    def ended(self, outcome: str, begun: float, now: float) -> None:
        if self.counted_from <= now < self.counted_until:
            self.outcomes[outcome] += 1
            if outcome == ANSWERED:
                self.latencies.append(now - begun)

    def told(self, now: float) -> Told:
        seconds = min(now, self.counted_until) - self.counted_from
        return Told(seconds=seconds, outcomes=dict(self.outcomes), latencies=sorted(self.latencies))


class Asking(asyncio.Protocol):
    """One connection, and at most one request on it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._outcome: asyncio.Future[str] | None = None
        self._parser: httptools.HttpResponseParser
        self._tail = b""
        self._stream = False
        self._begun = False

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, request: bytes, *, stream: bool) -> asyncio.Future[str]:
        """What becomes of it; always an outcome, never an exception."""
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._tail, self._stream, self._begun = b"", stream, False
        self._outcome = self._loop.create_future()
        self._transport.write(request)
        return self._outcome

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._end(CUT if self._stream and self._begun else "connection lost")

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._end("not HTTP")
            self.close()

    def on_headers_complete(self) -> None:
        self._begun = self._parser.get_status_code() == 200

    def on_body(self, body: bytes) -> None:
        self._tail = (self._tail + body)[-64:]

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status != 200:
            self._end(str(status))
        else:
            self._end(ANSWERED if not self._stream or DONE in self._tail else CUT)
        if not self._parser.should_keep_alive():
            self.close()

    def _end(self, outcome: str) -> None:
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(outcome)


def request_bytes(work: Work) -> bytes:
    """One request as it goes over the wire."""
    where = urlsplit(work.url)
    document = {"model": work.model, "messages": [{"role": "user", "content": "ping"}], "stream": work.stream}
    body = json.dumps(document).encode()
    fields = {
        "Host": where.netloc,
        "Content-Type": "application/json",
        "Accept": "application/json",
        "User-Agent": "OpenAI/Python 2.0.0",
        "Content-Length": str(len(body)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in {**fields, **work.headers}.items())
    return f"POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n".encode() + body


async def one_client(books: Books) -> None:
    loop = asyncio.get_running_loop()
    request, work = request_bytes(books.work), books.work
    where = urlsplit(work.url)
    connection: Asking | None = None
    while books.another(clock()):
        begun = clock()
        try:
            if connection is None or not connection.usable:
                _, connection = await loop.create_connection(Asking, where.hostname or "", where.port or 80)
            outcome = await asyncio.wait_for(connection.ask(request, stream=work.stream), PATIENCE)
        except OSError:
            outcome = "refused"
        except TimeoutError:
            outcome = f"no answer within {PATIENCE:g} s"
        books.ended(outcome, begun, clock())
        if outcome != ANSWERED:
            if connection is not None:
                connection.close()
                connection = None
            await asyncio.sleep(AGAIN_AFTER)
        if work.pause:
            await asyncio.sleep(work.pause)
    if connection is not None:
        connection.close()


async def run(work: Work) -> Told:
    """The work in this process, until it is done or standard input ends. What is under way then is waited for."""
    books = Books(work, clock())
    told_to_stop = asyncio.create_task(_end_of_input())
    told_to_stop.add_done_callback(lambda _: setattr(books, "stopping", True))
    await asyncio.gather(*(one_client(books) for _ in range(work.connections)))
    told_to_stop.cancel()
    return books.told(clock())


async def _end_of_input() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def told(text: bytes) -> Told:
    """Raises ValueError where the process ended without having said anything."""
    return Told(**json.loads(text))


class Running:
    """Clients at work. `stop` lets each finish the request that it has under way."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def stop(self) -> Told:
        stdout, _ = await self._process.communicate(b"")  # without even that, it would not close its input
        return told(stdout)

    async def done(self) -> Told:
        """What became of work that ends by itself."""
        assert self._process.stdout is not None
        text = await self._process.stdout.read()
        await self._process.wait()  # to signal one that is about to end would take its exit status from asyncio
        return told(text)


@contextlib.asynccontextmanager
async def clients(work: Work) -> AsyncIterator[Running]:
    """Starts them; what is left of them at the end of the block is ended."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.clients"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(asdict(work)).encode() + b"\n")
        yield Running(process)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


async def load(work: Work) -> Told:
    """Work that ends by itself, from its start to its end."""
    async with clients(work) as running:
        return await running.done()


def main() -> None:
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1)  # not a byte more: the rest is the end of input, which is waited for
    result = uvloop.run(run(Work(**json.loads(line))))
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
