"""The fake provider of the benchmarks: a process of its own, so fast that it is not what is measured.

    python -m benchmarks.provider

It prints the port that it listens on, and ends with its standard input. It answers every POST in the words of
OpenAI's chat completions, plain or streamed as the body asks, and checks nothing. Under `/paced/…` it takes `DELAY`
before the first byte and `PAUSE` between two chunks, as a model does; anywhere else no time at all, one segment for
each chunk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from typing import cast

import httptools
import uvloop

CHUNKS = 20
DELAY = 0.3  # seconds
PAUSE = 0.1  # seconds; a paced stream takes DELAY + CHUNKS * PAUSE
PACED = b"/paced/"

_COMMON = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "gpt-4o-2024-08-06"}
_USAGE = {"prompt_tokens": 8, "completion_tokens": 20, "total_tokens": 28}


def _head(content_type: str, framing: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{framing}\r\n\r\n".encode()


def _plain() -> bytes:
    message = {"role": "assistant", "content": "pong " * 20}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    body = json.dumps(_COMMON | {"object": "chat.completion", "choices": choices, "usage": _USAGE}).encode()
    return _head("application/json", f"Content-Length: {len(body)}") + body


def _stream() -> list[bytes]:
    """The head, then one piece for each chunk, the last with all that ends the stream."""
    texts = [{"role": "assistant", "content": ""}, *({"content": "pong "} for _ in range(CHUNKS - 2)), {}]
    pieces = [_head("text/event-stream", "Transfer-Encoding: chunked")]
    for number, delta in enumerate(texts):
        choice = {"index": 0, "delta": delta, "finish_reason": "stop" if number == CHUNKS - 1 else None}
        document = json.dumps(_COMMON | {"object": "chat.completion.chunk", "choices": [choice]})
        pieces.append(_chunk(f"data: {document}\n\n"))
    pieces[-1] += _chunk("data: [DONE]\n\n") + b"0\r\n\r\n"
    return pieces


def _chunk(text: str) -> bytes:
    return f"{len(text):x}\r\n{text}\r\n".encode()


PLAIN = _plain()
STREAM = _stream()


class Answering(asyncio.Protocol):
    """One connection; requests that come before the last one is answered are not of this world."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._transport is not None:
                self._transport.close()

    def on_message_begin(self) -> None:
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        paced = self._url.startswith(PACED)
        streamed = json.loads(self._body or b"{}").get("stream") is True
        pieces = STREAM if streamed else [PLAIN]
        if paced:
            self._loop.call_later(DELAY, self._send, pieces, 0, PAUSE)
        else:
            self._send(pieces, 0, 0.0)

    def _send(self, pieces: Sequence[bytes], number: int, pause: float) -> None:
        if self._transport is None:
            return
        self._transport.write(pieces[number])
        if number + 1 == len(pieces):
            return
        if pause:
            self._loop.call_later(pause, self._send, pieces, number + 1, pause)
        else:
            self._loop.call_soon(self._send, pieces, number + 1, pause)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[str]:
    """Runs it for as long as the block lasts; its URL, without a final slash."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.provider"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        await process.wait()


if __name__ == "__main__":
    uvloop.run(serve())
