"""One probe of one replica: `/health/liveliness`, over a new connection that nothing else uses.

The answer comes from the loop that serves requests, so a hung loop cannot look alive; nothing else of LiteLLM is asked,
so a database that blinks does not take the pool down. A connection that was kept would go on answering when the
replica's socket is gone, and nobody else can reach it any more.

Probing is most of what the daemon does while nobody asks for anything, and so without an HTTP client: one takes several
times as long, to be ready for what cannot come.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

import httptools

_REQUEST = b"GET /health/liveliness HTTP/1.1\r\nhost: replica\r\nuser-agent: litesup\r\nconnection: close\r\n\r\n"
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class CannotAsk(Exception):
    """This process lacks what a connection takes: that says nothing about the replica, which must not pay for it."""


class Probe(Protocol):
    async def ask(self) -> str | None:
        """None when it answered, else why not, in a few words. Never raises for a replica that is not there.

        Raises CannotAsk.
        """
        ...


class LivenessProbe:
    """Probes one socket. `timeout` is asked before each probe; it is in seconds and covers everything."""

    def __init__(self, socket_path: Path, *, timeout: Callable[[], float]) -> None:
        self._path = str(socket_path)
        self._timeout = timeout

    async def ask(self) -> str | None:
        loop = asyncio.get_running_loop()
        timeout = self._timeout()
        connection: asyncio.Transport | None = None
        try:
            async with asyncio.timeout(timeout):
                connection, answer = await loop.create_unix_connection(_Answer, self._path)
                return await answer.verdict
        except TimeoutError:
            return f"no answer within {timeout:g} s"
        except OSError as error:
            if error.errno in _OURS:
                raise CannotAsk from None
            return f"no connection: {error.strerror}"
        finally:
            if connection is not None:
                connection.abort()


class _Answer(asyncio.Protocol):
    """What is to be said of one answer, once it is complete or cannot be. Never an exception: nobody may wait."""

    def __init__(self) -> None:
        self.verdict: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._say("answered what is no HTTP")

    def on_message_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        self._say(None if status == 200 else f"answered {status}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._parser = None  # it holds this; a probe that left garbage would leave some every few seconds, for good
        self._say("closed the connection without an answer")

    def _say(self, verdict: str | None) -> None:
        if not self.verdict.done():
            self.verdict.set_result(verdict)


async def first_answer(probe: Probe, socket_path: Path, *, interval: float = 0.02) -> None:
    """Returns when the replica answers for the first time. Deadlines are the caller's.

    Until there is a socket, looking for it is all that is done: a replica that loads LiteLLM needs the processor.
    """
    while True:
        with contextlib.suppress(CannotAsk):
            if socket_path.is_socket() and await probe.ask() is None:
                return
        await asyncio.sleep(interval)
