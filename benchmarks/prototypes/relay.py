"""The ceiling of this event loop: bytes to a replica and back, with the least understanding that works at all.

    python -m benchmarks.prototypes.relay PORT SOCKET...

It knows where an answer ends, by its Content-Length, because it has to know when a connection to a replica is free
again, and takes every piece of a request for a whole one. Nothing is checked, added, counted or timed, so this is no
proxy that anybody could use: what a hop costs above it is what a hop does.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

from benchmarks.prototypes.serving import main

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: ([0-9]+)\r\n")


class Replica(asyncio.Protocol):
    """A connection to a replica, and the client that it works for."""

    __slots__ = ("_idle", "_left", "client", "transport")

    def __init__(self, idle: list[Replica]) -> None:
        self._idle = idle
        self._left = 0  # bytes of the answer that are to come
        self.client: Client | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._idle:
            self._idle.remove(self)
        if self.client is not None:
            self.client.gone()

    def data_received(self, data: bytes) -> None:
        client = self.client
        if client is None:
            return
        if not self._left:
            found = _LENGTH.search(data)
            self._left = data.index(b"\r\n\r\n") + 4 + (int(found[1]) if found else 0)
        self._left -= len(data)
        if not self._left:
            self.client = None
            self._idle.append(self)
        client.answer(data)


class Client(asyncio.Protocol):
    """A client's connection. Whatever it sends is a request."""

    __slots__ = ("_connect", "_idle", "_replica", "_transport")

    def __init__(self, idle: list[Replica], connect: Callable[[Client, bytes], None]) -> None:
        self._idle = idle
        self._connect = connect
        self._replica: Replica | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._replica is not None and self._replica.transport is not None:
            self._replica.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._idle:
            self.send(self._idle.pop(), data)
        else:
            self._connect(self, data)

    def send(self, replica: Replica, data: bytes) -> None:
        replica.client = self
        self._replica = replica
        if replica.transport is not None:
            replica.transport.write(data)

    def answer(self, data: bytes) -> None:
        replica = self._replica
        if replica is not None and replica.client is None:
            self._replica = None
        if self._transport is not None:
            self._transport.write(data)

    def gone(self) -> None:
        self._replica = None
        if self._transport is not None:
            self._transport.abort()


def protocols(loop: asyncio.AbstractEventLoop, sockets: list[Path]) -> Callable[[], Client]:
    idle: list[Replica] = []
    turns: Iterator[Path] = itertools.cycle(sockets)
    connecting: set[asyncio.Task[None]] = set()

    async def connect(client: Client, data: bytes) -> None:
        _, replica = await loop.create_unix_connection(lambda: Replica(idle), str(next(turns)))
        client.send(replica, data)

    def begin(client: Client, data: bytes) -> None:
        task = loop.create_task(connect(client, data))
        connecting.add(task)
        task.add_done_callback(connecting.discard)

    return lambda: Client(idle, begin)


if __name__ == "__main__":
    main(protocols)
