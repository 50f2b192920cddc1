"""Streams of server-sent events, and those who read them: both ends, so that the delay of each event is known.

    python -m benchmarks.stream_load --steps 500x20 --seconds 10 --watch PID --to PORT SOCKET...

Serves on the sockets, and asks for streams from the port; without `--to` straight from the first socket. Every event
carries the time at which it was written, to be compared when it is read. Prints one line of JSON per step: how many
streams, at how many events per second each, what came of them, and what the watched process used for it.

One loop for both ends, because it has one core: an event costs it about 20 us, in all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import httptools
import uvloop

from benchmarks.cost import processor_seconds, pss

TICK = 0.001  # seconds; the loop's timers are no finer
STAMP = 20  # digits
MARK = b'"content":"'
OPENED_TOGETHER = 50
OPEN_WITHIN = 60.0  # seconds, for all streams of a step
WARM = 1.0  # seconds of streaming before anything counts
ARRIVE_WITHIN = 10.0

_EVENT = (
    b'data: {"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk","created":1741569952,'
    b'"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_06737a9306",'
    b'"choices":[{"index":0,"delta":{"content":"%020d"},"logprobs":null,"finish_reason":null}]}\n\n'
)
_SIZE = len(_EVENT % 0)
_CHUNK = b"%x\r\n" % _SIZE + _EVENT + b"\r\n"
_END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"x-litellm-call-id: 5f1c6f1e-64a9-4b52-8f0e-0a8ad1b1d9d1\r\ntransfer-encoding: chunked\r\n\r\n"
)
_BODY = json.dumps({"model": "gpt-4", "messages": [{"role": "user", "content": "ping"}], "stream": True}).encode()
_REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    b"authorization: Bearer sk-client\r\naccept: application/json\r\nuser-agent: OpenAI/JS 4.0.0\r\n"
    b"content-length: %d\r\n\r\n" % len(_BODY)
) + _BODY


@dataclass(frozen=True, slots=True)
class Step:
    """So many streams, each with so many events per second."""

    streams: int
    rate: float

    @classmethod
    def parsed(cls, text: str) -> Step:
        streams, _, rate = text.partition("x")
        return cls(int(streams), float(rate))


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one step. Delays in seconds; `late` is by how much the sender fell behind, at worst; `reads` of the clients.

    `own` is the share of a core that both ends took; `cpu` (seconds) and `pss` (MB) are the watched process's.
    """

    streams: int
    rate: float
    seconds: float
    sent: int
    arrived: int
    reads: int
    median: float
    p99: float
    worst: float
    late: float
    own: float
    cpu: float
    pss: float


class Sent(asyncio.Protocol):
    """The end that a replica would be: answers a request with a stream that goes on until the connection ends."""

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        assert self._transport is not None
        self._transport.write(_HEAD + _CHUNK % time.monotonic_ns())
        self._pacer.streams.append(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport in self._pacer.streams:
            self._pacer.streams.remove(self._transport)


class Pacer:
    """Writes the events: one stream after the other, evenly over time."""

    def __init__(self) -> None:
        self.streams: list[asyncio.WriteTransport] = []
        self.sent = 0
        self.late = 0.0
        self._rate = 0.0
        self._begun = 0.0
        self._done = 0
        self._next = 0
        self._loop = asyncio.get_running_loop()

    def pace(self, rate: float) -> None:
        """From now on so many events a second, of all streams together."""
        if not self._begun:
            self._loop.call_later(TICK, self._tick)
        self._rate, self._begun, self._done = rate, self._loop.time(), 0

    def counted(self) -> int:
        """How many since it was last asked, and how late the latest of them was is forgotten."""
        sent, self.sent, self.late = self.sent, 0, 0.0
        return sent

    def finish(self) -> None:
        """Ends every stream as it should end."""
        self._rate = 0.0
        for stream in self.streams:
            stream.write(_END)

    def _tick(self) -> None:
        self._loop.call_later(TICK, self._tick)
        due = int((self._loop.time() - self._begun) * self._rate) - self._done
        if due <= 0 or not self.streams:
            return
        self.late = max(self.late, (due - 1) / self._rate)
        self._done += due
        streams, clock = self.streams, time.monotonic_ns
        for number in range(self._next, self._next + due):
            streams[number % len(streams)].write(_CHUNK % clock())
        self._next = (self._next + due) % len(streams)
        self.sent += due


class Readings:
    """What all readers have seen of the events that were written since `begin`."""

    def __init__(self) -> None:
        self.delays = array("q")
        self.reads = 0
        self.lost = 0
        self.ended = 0
        self._since = 2**63
        self._until = 2**63

    def begin(self) -> None:
        self.delays, self.reads = array("q"), 0
        self._since, self._until = time.monotonic_ns(), 2**63

    def end(self) -> None:
        self._until = time.monotonic_ns()

    def take(self, stamp: int) -> None:
        if self._since <= stamp < self._until:
            self.delays.append(time.monotonic_ns() - stamp)


class Reader(asyncio.Protocol):
    """The end that a client would be."""

    def __init__(self, readings: Readings) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._readings = readings
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.WriteTransport", transport).write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        self._readings.reads += 1
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        found, self._rest = stamps(self._rest + body)
        for stamp in found:
            self._readings.take(stamp)
        if not self.opened.done():
            status = self._parser.get_status_code()
            if status == 200:
                self.opened.set_result(None)
            else:
                self.opened.set_exception(RuntimeError(f"answered {status}: {body[:200]!r}"))

    def on_message_complete(self) -> None:
        self._readings.ended += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._readings.lost += 1
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionResetError("closed before it began"))


def stamps(data: bytes) -> tuple[list[int], bytes]:
    """The times in these bytes, and what follows the last one: an event may be cut short, its rest still to come."""
    found, after = [], 0
    while (at := data.find(MARK, after)) >= 0 and at + len(MARK) + STAMP <= len(data):
        after = at + len(MARK) + STAMP
        found.append(int(data[after - STAMP : after]))
    return found, data[after:]


async def measure(
    steps: Sequence[Step], seconds: float, sockets: Sequence[Path], port: int | None, watched: int | None
) -> None:
    """Prints an Outcome per step. Raises RuntimeError when streams do not open, or end."""
    loop = asyncio.get_running_loop()
    pacer, readings = Pacer(), Readings()
    for path in sockets:
        path.unlink(missing_ok=True)
    _servers = [await loop.create_unix_server(lambda: Sent(pacer), str(path), backlog=4096) for path in sockets]
    opened = 0
    for step in steps:
        async with asyncio.timeout(OPEN_WITHIN):
            while opened < step.streams:
                many = min(OPENED_TOGETHER, step.streams - opened)
                await asyncio.gather(*(_open(readings, port, sockets[0]) for _ in range(many)))
                opened += many
        pacer.pace(step.streams * step.rate)
        await asyncio.sleep(WARM)
        print(json.dumps(asdict(await _watch(step, seconds, pacer, readings, watched))), flush=True)
        if readings.lost:
            raise RuntimeError(f"{readings.lost} of {opened} streams ended")
    pacer.finish()
    await _until(lambda: readings.ended >= opened)


async def _open(readings: Readings, port: int | None, path: Path) -> None:
    loop = asyncio.get_running_loop()
    if port is None:
        _, reader = await loop.create_unix_connection(lambda: Reader(readings), str(path))
    else:
        _, reader = await loop.create_connection(lambda: Reader(readings), "127.0.0.1", port)
    await reader.opened


async def _watch(step: Step, seconds: float, pacer: Pacer, readings: Readings, watched: int | None) -> Outcome:
    own, cpu = time.process_time(), processor_seconds(watched) if watched else 0.0
    pacer.counted()
    readings.begin()
    began = time.monotonic()
    await asyncio.sleep(seconds)
    readings.end()
    took, late = time.monotonic() - began, pacer.late
    sent = pacer.counted()
    own, cpu = time.process_time() - own, (processor_seconds(watched) - cpu) if watched else 0.0
    weight = pss([watched]) if watched else 0.0
    reads = readings.reads
    await _until(lambda: len(readings.delays) >= sent)
    delays = sorted(readings.delays)
    if not delays:
        raise RuntimeError(f"of {sent} events none arrived")
    return Outcome(
        streams=step.streams,
        rate=step.rate,
        seconds=took,
        sent=sent,
        arrived=len(delays),
        reads=reads,
        median=delays[len(delays) // 2] / 1e9,
        p99=delays[int(len(delays) * 0.99)] / 1e9,
        worst=delays[-1] / 1e9,
        late=late,
        own=own / took,
        cpu=cpu,
        pss=weight,
    )


async def _until(condition: Callable[[], bool]) -> None:
    """Returns when that is so, or when it has had time enough."""
    deadline = time.monotonic() + ARRIVE_WITHIN
    while not condition() and time.monotonic() < deadline:
        await asyncio.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="+", type=Step.parsed, required=True, metavar="STREAMSxRATE")
    parser.add_argument("--seconds", type=float, default=10.0, help="that count, in each step (default: 10)")
    parser.add_argument("--watch", type=int, metavar="PID", help="the process whose cost is told")
    parser.add_argument("--to", type=int, metavar="PORT", help="whom to ask for streams; else the first socket")
    parser.add_argument("sockets", nargs="+", type=Path, metavar="SOCKET")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(options.steps, options.seconds, options.sockets, options.to, options.watch))
    os._exit(0)  # closing thousands of connections one by one serves nobody


if __name__ == "__main__":
    main()
