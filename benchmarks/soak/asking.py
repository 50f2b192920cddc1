"""One request of a soak, of each kind, and what its client got.

Every request carries a token, and its answer has to carry the same one: an answer that reached the wrong client would
be seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from benchmarks.soak.judge import Ask, Request
from benchmarks.soak.provider import STREAM_CHUNKS

PATIENCE = 120.0  # seconds, after which a client takes a request for lost
UPLOAD = (100_000, 3_000_000)  # bytes


class Asker:
    """Asks the pool at `url`. `requests` is what became of each request."""

    def __init__(self, url: str) -> None:
        self.requests: list[Request] = []
        self._url = url
        self._numbers = itertools.count(1)

    async def chat(
        self,
        session: aiohttp.ClientSession,
        ask: Ask,
        what: str,
        *,
        stream: bool = False,
        padding: int = 0,
        leave_after: float | None = None,
        pace: float = 0.0,
    ) -> None:
        """`what` is the kind of answer wanted; `padding` is sent along, in bytes; `pace`: seconds between reads."""
        note = self.note(ask)
        token = note.id
        messages = [{"role": "user", "content": f"{what} {token}"}]
        if padding:
            messages.insert(0, {"role": "system", "content": "x" * padding})
        body: dict[str, Any] = {"model": "gpt-4", "messages": messages, **({"stream": True} if stream else {})}
        try:
            async with asyncio.timeout(leave_after):
                async with session.post(
                    f"{self._url}/v1/chat/completions", json=body, headers={"X-Request-Id": token}
                ) as response:
                    note.got(response)
                    raw = await _read(response, note, pace)
                note.whole = True
                _understand(note, raw, stream=stream)
        except TimeoutError:
            note.left = leave_after is not None
            note.error = "" if note.left else f"no end within {PATIENCE:g} s"
        except (aiohttp.ClientError, ConnectionError) as error:
            note.error = f"{type(error).__name__}: {error}"
        self.requests.append(note.done())

    async def get(self, session: aiohttp.ClientSession, ask: Ask, path: str, expected: str) -> None:
        note = self.note(ask)
        try:
            async with session.get(f"{self._url}{path}", headers={"X-Request-Id": note.id}) as response:
                note.got(response)
                text = (await _read(response, note, 0.0)).decode()
                note.whole, note.right = True, expected in text
                # The health path says so when no replica is ready: that is an answer, and no failure.
                if ask is Ask.HEALTH and response.status == 503 and "unavailable" in text:
                    note.status, note.right = 200, True
                if not note.right:
                    note.error = text[:300]
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as error:
            note.error = f"{type(error).__name__}: {error}"
        self.requests.append(note.done())

    async def realtime(self, session: aiohttp.ClientSession) -> None:
        """The fake provider has no such service, so LiteLLM accepts, and closes in an orderly way."""
        note = self.note(Ask.SOCKET)
        try:
            async with session.ws_connect(
                f"{self._url}/v1/realtime?model=gpt-4",
                headers={"X-Request-Id": note.id},
                timeout=aiohttp.ClientWSTimeout(ws_close=5),
            ) as ws:
                note.status, note.first_byte = 101, time.time()
                last = await ws.receive()
                while last.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
                    last = await ws.receive()
                note.whole = note.right = ws.close_code not in {None, 1006}
                note.error = "" if note.whole else f"the connection ended without a close frame ({last.type.name})"
        except aiohttp.WSServerHandshakeError as error:
            note.status, note.error = error.status, str(error)
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as error:
            note.error = f"{type(error).__name__}: {error}"
        self.requests.append(note.done())

    async def half_an_upload(self, source: random.Random) -> None:
        """Promises a body, sends a part of it, and is gone."""
        note = self.note(Ask.UPLOAD)
        host, _, port = self._url.removeprefix("http://").partition(":")
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: {note.id}\r\n"
        with contextlib.suppress(ConnectionError):
            _, writer = await asyncio.open_connection(host, int(port))
            length = source.randint(*UPLOAD)
            writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode())
            writer.write(b"x" * source.randrange(length))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await writer.drain()
            await asyncio.sleep(source.uniform(0, 0.5))
            writer.transport.abort()
        note.left = True
        self.requests.append(note.done())

    def note(self, ask: Ask) -> Note:
        return Note(ask, f"soak-{next(self._numbers)}")

    @contextlib.asynccontextmanager
    async def connected(self, number: int) -> AsyncIterator[None]:
        """Connections on which nothing is said."""
        host, _, port = self._url.removeprefix("http://").partition(":")
        writers = [(await asyncio.open_connection(host, int(port)))[1] for _ in range(number)]
        try:
            yield
        finally:
            for writer in writers:
                writer.transport.abort()


class Note:
    """A request under way."""

    def __init__(self, ask: Ask, identity: str) -> None:
        self.ask, self.id, self.started = ask, identity, time.time()
        self.first_byte: float | None = None
        self.status, self.slot = 0, None  # type: int, int | None
        self.whole = self.right = self.left = False
        self.error = ""

    def got(self, response: aiohttp.ClientResponse) -> None:
        self.status, self.first_byte = response.status, time.time()
        slot = response.headers.get("x-litesup-replica")
        self.slot = None if slot is None else int(slot)

    def done(self) -> Request:
        return Request(
            ask=self.ask,
            id=self.id,
            started=self.started,
            finished=time.time(),
            first_byte=self.first_byte,
            status=self.status,
            slot=self.slot,
            whole=self.whole,
            right=self.right,
            left=self.left,
            error=self.error,
        )


async def _read(response: aiohttp.ClientResponse, note: Note, pace: float) -> bytes:
    raw = bytearray()
    while piece := await response.content.read(2**16):
        raw += piece
        if pace:
            await asyncio.sleep(pace)
    return bytes(raw)


def _understand(note: Note, raw: bytes, *, stream: bool) -> None:
    """Whether the answer is this request's own, and, of a stream, whether its last event came."""
    if note.status != 200:
        note.error = raw[:300].decode(errors="replace")
        return
    if not stream:
        text = json.loads(raw)["choices"][0]["message"]["content"]
        note.right = text.partition(" ")[0] == note.id
    else:
        events = [line[6:] for line in raw.decode().splitlines() if line.startswith("data: ")]
        documents = [json.loads(event) for event in events if event != "[DONE]"]
        failed = [document["error"] for document in documents if "error" in document]
        note.whole = not failed
        note.error = str(failed[0]) if failed else ""
        choices = [choice for document in documents for choice in document.get("choices", ())]
        words = "".join(choice.get("delta", {}).get("content") or "" for choice in choices).split()
        expected = [f"{note.id}-{number}" for number in range(len(words))]
        note.right = "[DONE]" in events and words == expected and len(words) == STREAM_CHUNKS
    if not note.right and not note.error:
        note.error = f"the answer is not this request's: {raw[:300]!r}"
