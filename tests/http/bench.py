"""A real balancer between a client that writes raw bytes and a replica that keeps what arrives, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.http.corpus.case import BODY_LIMIT, HEAD_LIMIT, TARGET_LIMIT, Seen
from tests.wire import Bench, Client, Message, ScriptedReplica, bench, read_body, read_head

LIMITS = {"head_bytes": HEAD_LIMIT, "target_bytes": TARGET_LIMIT, "body_bytes": BODY_LIMIT}
_ADDED = (b"x-forwarded-for: 127.0.0.1", b"x-request-id: ")

Answer = Callable[[asyncio.StreamWriter, Seen], Awaitable[None]]


async def answer_200(writer: asyncio.StreamWriter, seen: Seen) -> None:
    body = b"" if seen.head.startswith(b"HEAD ") else b"{}"
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n" + body)


class Recorder(ScriptedReplica):
    """Keeps whole requests in `seen`, and in `partial` what was left when a connection ended within one."""

    def __init__(self, directory: Path, slot: int = 0, answer: Answer = answer_200) -> None:
        super().__init__(directory, slot)
        self.answer = answer
        self.seen: list[Seen] = []
        self.partial: list[bytes] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        self.open += 1
        try:
            while True:
                raw = await reader.readuntil(b"\r\n\r\n")
                start, *lines = raw[:-4].split(b"\r\n")
                kept = [line for line in lines if not line.startswith(_ADDED)]
                head = b"\r\n".join([start, *kept, b"", b""])
                fields = [line.decode("latin-1").split(": ", 1) for line in lines]
                message = Message(start.decode("latin-1"), [(name, value) for name, value in fields])
                seen = Seen(head, await read_body(reader, message, response=False))
                self.seen.append(seen)
                await self.answer(writer, seen)
        except asyncio.IncompleteReadError as incomplete:
            if incomplete.partial:
                self.partial.append(incomplete.partial)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.transport.abort()


@dataclass(eq=False)
class Complaints(logging.Handler):
    """Everything that went wrong without a client being told: what loops and libraries log."""

    seen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.getMessage())

    def unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.seen.append(repr(context))


@contextlib.asynccontextmanager
async def complaints() -> AsyncIterator[Complaints]:
    said = Complaints()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(said.unhandled)
    logging.getLogger().addHandler(said)
    try:
        yield said
    finally:
        logging.getLogger().removeHandler(said)
        loop.set_exception_handler(None)


@contextlib.asynccontextmanager
async def no_complaints() -> AsyncIterator[Complaints]:
    """Fails if anything is logged as a warning or worse, or raised where nobody catches it."""
    async with complaints() as said:
        yield said
    assert said.seen == []


async def write(client: Client, pieces: Iterable[bytes]) -> None:
    """Each piece in a turn of the loop of its own, so that it arrives by itself. Stops where the balancer has closed."""
    for piece in pieces:
        if client.reader.at_eof():
            return
        await write_pieces(client.writer, [piece])


async def write_pieces(writer: asyncio.StreamWriter, pieces: Iterable[bytes]) -> None:
    """As `write`, from the replica's side."""
    for piece in pieces:
        if writer.transport.is_closing():
            return
        writer.write(piece)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def final(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Message:
    """The next response that is not an interim one."""
    while (message := await read_head(reader)).status < 200:
        pass
    if not bodiless and message.status not in {204, 304}:
        message.body = await read_body(reader, message, response=True)
    return message


@contextlib.asynccontextmanager
async def recording(
    directory: Path, answer: Answer = answer_200, **sections: Any
) -> AsyncIterator[tuple[Bench, Recorder]]:
    recorder = Recorder(directory, answer=answer)
    async with no_complaints(), bench(recorder, **{"limits": LIMITS, **sections}) as b:
        yield b, recorder
