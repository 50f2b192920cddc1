"""The clients of a soak: many kinds at once, each a loop.

`Traffic.pause` brings all of them to rest, and closes their connections.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp

from benchmarks.soak.asking import PATIENCE, UPLOAD, Asker
from benchmarks.soak.judge import Ask

HUGE = 9_000_000  # bytes; more than retry.body_limit
SMALL_BUFFER = 32 * 1024  # of the slow readers' sockets, in bytes
IDLE_CLIENTS = 20

Client = Callable[[Asker, aiohttp.ClientSession, random.Random], Coroutine[Any, Any, None]]


async def plain(asker: Asker, session: aiohttp.ClientSession, source: random.Random) -> None:
    await asker.chat(session, Ask.PLAIN, "short")
    await asyncio.sleep(source.uniform(0, 0.3))


async def fresh(asker: Asker, session: aiohttp.ClientSession, source: random.Random) -> None:
    await asker.chat(session, Ask.FRESH, "short")
    await asyncio.sleep(source.uniform(0, 0.3))


async def streams(asker: Asker, session: aiohttp.ClientSession, source: random.Random) -> None:
    await asker.chat(session, Ask.STREAM, "stream", stream=True)
    await asyncio.sleep(source.uniform(0, 0.3))


async def leaves(asker: Asker, session: aiohttp.ClientSession, source: random.Random) -> None:
    """Goes away before the head, amid a stream, or amid an upload."""
    if source.random() < 0.2:
        await asker.half_an_upload(source)
        return
    stream = source.random() < 0.5
    ask = Ask.STREAM if stream else Ask.PLAIN
    await asker.chat(session, ask, "stream" if stream else "short", stream=stream, leave_after=source.uniform(0, 1.0))


async def uploads(asker: Asker, session: aiohttp.ClientSession, source: random.Random) -> None:
    if source.random() < 0.05:
        await asker.chat(session, Ask.HUGE, "short", padding=HUGE)
    else:
        await asker.chat(session, Ask.UPLOAD, "short", padding=source.randint(*UPLOAD))
    await asyncio.sleep(source.uniform(0.2, 1.0))


async def reads_slowly(asker: Asker, session: aiohttp.ClientSession, source: random.Random) -> None:
    await asker.chat(session, Ask.SLOW, "long", pace=source.uniform(0.01, 0.1))
    await asyncio.sleep(source.uniform(0.2, 1.0))


async def looks(asker: Asker, session: aiohttp.ClientSession, source: random.Random) -> None:
    await asker.get(
        session, Ask.HEALTH, source.choice(["/health", "/health/readiness", "/health/liveliness"]), "healthy"
    )
    await asyncio.sleep(source.uniform(0, 0.5))
    if source.random() < 0.2:
        await asker.get(session, Ask.MODELS, "/v1/models", "gpt-4")


async def websockets(asker: Asker, session: aiohttp.ClientSession, source: random.Random) -> None:
    await asker.realtime(session)
    await asyncio.sleep(source.uniform(0.5, 2.0))


async def says_nothing(asker: Asker, session: aiohttp.ClientSession, source: random.Random) -> None:
    async with asker.connected(IDLE_CLIENTS):
        await asyncio.sleep(source.uniform(0.5, 3.0))


CLIENTS: tuple[Client, ...] = (
    *(plain,) * 3,
    *(fresh,) * 2,
    *(streams,) * 4,
    *(leaves,) * 2,
    uploads,
    reads_slowly,
    looks,
    websockets,
    says_nothing,
)
CLOSING = frozenset({fresh})
SLOW = frozenset({reads_slowly})


class Traffic:
    """Clients at work from `start` to `stop`."""

    def __init__(self, asker: Asker, *, seed: int) -> None:
        self._asker = asker
        self._seed = seed
        self._open = asyncio.Event()
        self._working = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._open.set()
        self._tasks = [
            asyncio.create_task(self._run(client, random.Random(f"{self._seed}/{number}")))
            for number, client in enumerate(CLIENTS)
        ]

    async def pause(self) -> None:
        """Returns when every request has ended and every connection is closed."""
        self._open.clear()
        async with asyncio.timeout(2 * PATIENCE):
            while self._working:
                self.check()
                await asyncio.sleep(0.05)
        self.check()

    def resume(self) -> None:
        self.check()
        self._open.set()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def check(self) -> None:
        """A client that fell over would make the soak an easy one."""
        for task in self._tasks:
            if task.done():
                task.result()

    @property
    def going(self) -> bool:
        return self._open.is_set()

    async def _run(self, client: Client, source: random.Random) -> None:
        while True:
            await self._open.wait()
            self._working += 1
            try:
                connector = aiohttp.TCPConnector(
                    force_close=client in CLOSING, socket_factory=_small_socket if client in SLOW else None
                )
                timeout = aiohttp.ClientTimeout(total=PATIENCE)
                async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=2**14) as session:
                    while self.going:
                        await client(self._asker, session, source)
            finally:
                self._working -= 1


def _small_socket(info: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, _ = info
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    made.setblocking(False)
    return made
