"""A front of our own: the product's guard, rules and upstream connection, without aiohttp's server between them.

    python -m benchmarks.prototypes.own_front PORT SOCKET...
    python -m benchmarks.prototypes.own_front --tasks PORT SOCKET...   a task for each request, as in the product

Enough to be measured fairly: every byte passes the guard, every request passes access, rotation, both heads and the
events, with the listeners that the daemon has; keep-alive, pipelining in order, bodies and answers with a length or in
chunks, slow clients. What the product does and this does not: WebSockets, 100-continue and other interim answers, retry
on another replica, the visible end of a cut stream, lingering close, head and idle deadlines, room for newcomers,
clients that leave while nobody reads from them, drain, idle connections' timeout, a bound of what waits of an upload.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import cast

import uvloop
from pydantic import SecretStr

from benchmarks.prototypes.own_exchange import Around, Exchange, written
from benchmarks.prototypes.own_incoming import Incoming, Reader
from benchmarks.prototypes.own_replica import Lines
from supervisor import rules
from supervisor.balancer import replies
from supervisor.balancer.crowd import Crowd
from supervisor.balancer.exchange import Counters
from supervisor.balancer.grammar import Limits
from supervisor.balancer.guard import Guard
from supervisor.balancer.headers import new_request_id
from supervisor.balancer.held import HeldBytes
from supervisor.balancer.reading import Readings
from supervisor.events import Events, RequestFinished
from supervisor.observe.logs import set_up_logging
from supervisor.observe.metrics import Metrics
from supervisor.policy.access import AccessRules, Refusal
from supervisor.rotation import Rotation, Upstream
from supervisor.settings.schema import Settings
from supervisor.status import Status

MOST_WAITING = 16
"""Requests that may stand behind the one at work before their client is made to wait."""


class ClientConnection(asyncio.Protocol):
    """One client's connection: one request at work, those behind it in order."""

    def __init__(self, limits: Limits, crowd: Crowd[ClientConnection], around: Around) -> None:
        self._reader = Reader(Guard(limits))
        self._crowd = crowd
        self._around = around
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._behind: deque[Incoming] = deque()
        self._starting = False
        self.peer = ""
        self.peer_bytes = b""
        self.readings = Readings("")
        self.slow = False

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if isinstance(peer, tuple) else ""
        self.peer_bytes = self.peer.encode("ascii", "replace")
        self.readings = Readings(self.peer)
        self._crowd.arrive(self, self.peer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._crowd.leave(self)
        self._behind.clear()
        if self._exchange is not None:
            self._exchange.client_gone()

    def data_received(self, data: bytes) -> None:
        self.take(self._reader.feed(data))

    def take(self, begun: list[Incoming]) -> None:
        """Requests of which the head has come."""
        self._behind += begun
        if self._exchange is None and self.may_start():
            self._start()
        elif len(self._behind) > MOST_WAITING and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """A client that has closed its side is gone."""
        if self._exchange is not None and self._transport is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        self.slow = True

    def resume_writing(self) -> None:
        self.slow = False
        if self._exchange is not None:
            self._exchange.go_on()

    @property
    def quiet(self) -> bool:
        """Whether no request is at work or has begun to come."""
        return self._exchange is None and not self._behind and self._reader.between

    # For its exchange.

    def write(self, data: bytes) -> None:
        if self._transport is not None and data:
            self._transport.write(data)

    def finished(self, *, keep_alive: bool) -> None:
        self._exchange = None
        self._crowd.end(self)
        if self._transport is None:
            return
        if not keep_alive:
            self._behind.clear()
            self._transport.close()
        elif self._behind:
            self._transport.resume_reading()
            self._start()

    def may_start(self) -> bool:
        """Whether no request is at work in another way."""
        return True

    # Inside.

    def _start(self) -> None:
        """Begins what is next. A loop and not a recursion: an answer of our own ends within its `begin`."""
        if self._starting or not self.may_start():
            return
        self._starting = True
        while self._behind and self._exchange is None:
            incoming = self._behind.popleft()
            if incoming.head is None or incoming.refusal is not None:
                assert incoming.refusal is not None
                self._refuse(incoming.refusal)
                break
            self._crowd.begin(self)
            exchange = self._exchange = Exchange(incoming, incoming.head, self, self._around)
            exchange.begin()
        self._starting = False

    def _refuse(self, refusal: Refusal) -> None:
        request_id = new_request_id()
        self._around.counters.requests += 1
        self._around.events.publish(
            RequestFinished("UNKNOWN", "other", refusal.status, "refused", None, 0, 0.0, request_id)
        )
        self.write(written(replies.refused(refusal, request_id), keep_alive=False))
        self.finished(keep_alive=False)


class OwnFront:
    """What the product's Balancer is to its daemon and to the tests, as far as it goes."""

    def __init__(
        self,
        *,
        rotation: Rotation,
        settings: Settings,
        events: Events,
        health: Callable[[], Status],
        tasks: bool = False,
    ) -> None:
        limits, access = settings.limits, settings.access
        self._port = settings.balancer.port
        self._limits = Limits(limits.head_bytes, limits.target_bytes, limits.body_bytes or None)
        self._crowd: Crowd[ClientConnection] = Crowd(limits.connections)
        self._around = Around(
            rotation=rotation,
            lines=Lines(),
            rules=AccessRules.of(
                allow=access.allow, trusted=access.trusted_networks, proxies=access.proxies, hosts=access.hosts
            ),
            events=events,
            health=health,
            counters=Counters(),
            held=HeldBytes(settings.retry.held_bytes),
            response_timeout=settings.balancer.response_timeout,
            queue_timeout=settings.queue.timeout,
            body_timeout=limits.body_timeout,
            tasks=tasks,
        )
        self._server: asyncio.Server | None = None

    async def start(self) -> tuple[str, ...]:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, "127.0.0.1", self._port, backlog=2048)
        host, port = self._server.sockets[0].getsockname()
        return (f"{host}:{port}",)

    async def stop(self, drain: float) -> None:
        if self._server is not None:
            self._server.close()

    def _connection(self) -> ClientConnection:
        return ClientConnection(self._limits, self._crowd, self._around)


def _nobody_asks() -> Status:
    raise RuntimeError("no health path is asked for in this measurement")


async def serve(kind: type[OwnFront], port: int, sockets: list[Path], *, tasks: bool) -> None:
    settings = Settings.model_validate({"balancer": {"port": port, "slow_start": 0}})
    logging = set_up_logging(settings.logs, os.environ)
    events = Events()
    events.subscribe(logging.log_event)
    events.subscribe(Metrics(_nobody_asks, dropped_lines=logging.dropped).count)
    rotation = rules.rotation(settings)
    front = kind(rotation=rotation, settings=settings, events=events, health=_nobody_asks, tasks=tasks)
    await front.start()
    for slot, path in enumerate(sockets, 1):
        rotation.add(Upstream(slot, slot, "measured", path, SecretStr("sk-measured")))
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await over.wait()
    await front.stop(0.0)
    logging.close()


def main(kind: type[OwnFront] = OwnFront) -> None:
    tasks = sys.argv[1] == "--tasks"
    port, *sockets = sys.argv[1 + tasks :]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(kind, int(port), [Path(each) for each in sockets], tasks=tasks))


if __name__ == "__main__":
    main()
