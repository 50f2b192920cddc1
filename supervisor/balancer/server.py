"""The front: the port that applications use.

Owns the listening sockets, the client connections and the orderly end of both. aiohttp's low-level server reads
requests; what happens to each is `exchange`'s story.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import socket
from collections.abc import Callable, Iterator, Sequence

from aiohttp import web

from supervisor.balancer import refusals, replies
from supervisor.balancer.crowd import Crowd, affordable
from supervisor.balancer.departures import Departures
from supervisor.balancer.door import Door
from supervisor.balancer.exchange import Counters, Exchange, Surroundings
from supervisor.balancer.front import ClientConnection, House
from supervisor.balancer.grammar import Limits
from supervisor.balancer.headers import new_request_id
from supervisor.balancer.held import HeldBytes
from supervisor.balancer.listen import describe, listen, refuse_exposure
from supervisor.balancer.message import Message
from supervisor.balancer.pool import Pool
from supervisor.events import Events, RequestFinished
from supervisor.policy.access import AccessRules, Refusal
from supervisor.rotation import Rotation
from supervisor.settings.schema import Settings
from supervisor.status import BalancerStatus, Status

_LAST_WORDS = 1.0  # seconds that exchanges get to end when the drain is over
_AT_ONCE = 0.01  # to aiohttp, 0 seconds mean for ever
# What aiohttp would log are broken requests, with their bytes, and those may hold keys.
_SILENT = logging.getLogger("supervisor.balancer.http")
_SILENT.disabled = True


class Balancer:
    """Takes requests on the port and gives each to a replica in rotation."""

    def __init__(self, *, rotation: Rotation, settings: Settings, events: Events, health: Callable[[], Status]) -> None:
        """`health` is asked for each health request, and must answer at once."""
        self._rotation = rotation
        self._settings = settings
        self._events = events
        self._counters = Counters()
        self._pool = Pool(
            connect_timeout=settings.balancer.connect_timeout, idle_timeout=settings.balancer.idle_upstream_timeout
        )
        limits = settings.limits
        self._house = House(
            limits=_limits(settings),
            head_timeout=limits.head_timeout,
            crowd=Crowd(affordable(limits.connections), limits.connections_per_address),
            refused=self._count_refusal,
        )
        self._stopping = asyncio.Event()
        self._surroundings = Surroundings(
            rotation=rotation,
            pool=self._pool,
            rules=_access_rules(settings),
            events=events,
            health=health,
            counters=self._counters,
            response_timeout=settings.balancer.response_timeout,
            queue_timeout=settings.queue.timeout,
            body_timeout=settings.limits.body_timeout,
            body_limit=settings.retry.body_limit,
            held=HeldBytes(settings.retry.held_bytes),
            stopping=self._stopping,
        )
        self._listening: tuple[str, ...] = ()
        self._doors: list[Door] = []
        self._front: web.Server | None = None
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._departures = Departures(self._transports_at_work)
        rotation.on_removed(self._pool.drop)

    async def start(self, sockets: Sequence[socket.socket] = ()) -> tuple[str, ...]:
        """Listens, on `sockets` if any are given, and returns the addresses.

        Raises PortTaken, LitesupError or ConfigurationRefused, and then nothing listens.
        """
        balancer = self._settings.balancer
        opened = list(sockets) or await listen(balancer.host, balancer.port)
        loop = asyncio.get_running_loop()
        self._front = web.Server(self._handle, handler_cancellation=True)
        try:
            refuse_exposure(opened, guarded=_guarded(self._settings))
            self._doors = [Door(loop, sock, self._connection) for sock in opened]
        except BaseException:
            for sock in opened:
                sock.close()
            raise
        self._departures.start()
        self._listening = tuple(describe(sock) for sock in opened)
        return self._listening

    def allows(self, settings: Settings) -> None:
        """Raises ConfigurationRefused for settings under which what listens must not listen."""
        refuse_exposure([door.socket for door in self._doors], guarded=_guarded(settings))

    def rule(self, settings: Settings) -> None:
        """Goes by these from now on: who is connected, or has asked, keeps what applied then."""
        balancer, limits = settings.balancer, settings.limits
        self._settings = settings
        self._pool.rule(connect_timeout=balancer.connect_timeout, idle_timeout=balancer.idle_upstream_timeout)
        self._house.crowd.rule(affordable(limits.connections), limits.connections_per_address)
        self._house = dataclasses.replace(self._house, limits=_limits(settings), head_timeout=limits.head_timeout)
        self._surroundings.held.limit = settings.retry.held_bytes
        self._surroundings = dataclasses.replace(
            self._surroundings,
            rules=_access_rules(settings),
            response_timeout=balancer.response_timeout,
            queue_timeout=settings.queue.timeout,
            body_timeout=limits.body_timeout,
            body_limit=settings.retry.body_limit,
        )

    async def stop(self, drain: float) -> None:
        """Accepts nothing more, lets what is in flight finish for at most `drain` seconds, then ends it."""
        self._stopping.set()
        for door in self._doors:
            door.close()
        if self._front is None:
            return
        for connection in self._front.connections:
            if connection not in self._house.crowd.at_work:
                connection.force_close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain):
                await self._quiet.wait()
        await self._front.shutdown(timeout=_AT_ONCE if self._house.crowd.at_work else _LAST_WORDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._quiet.wait()
        self._departures.stop()
        self._pool.close()
        self._listening = ()

    def snapshot(self) -> BalancerStatus:
        return BalancerStatus(
            listening=self._listening,
            policy=self._settings.balancer.policy.value,
            in_flight=self._counters.in_flight,
            waiting=self._rotation.waiting,
            requests=self._counters.requests,
            failed=self._counters.failed,
            held_bytes=self._surroundings.held.used,
            clients=len(self._house.crowd),
            idle_upstream=self._pool.idle,
            turned_away=self._house.crowd.turned_away,
        )

    def _connection(self) -> ClientConnection:
        """What aiohttp's parser limits is limited by the guard before; its own bounds only have to be wider."""
        assert self._front is not None
        most = self._house.limits.head
        return ClientConnection(
            self._front,
            self._house,
            loop=asyncio.get_running_loop(),
            access_log=None,
            logger=_SILENT,
            auto_decompress=False,
            keepalive_timeout=self._settings.balancer.keepalive_timeout,
            max_line_size=most,
            max_field_size=most,
            max_headers=most,
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, ClientConnection)
        crowd = self._house.crowd
        crowd.begin(connection)
        connection.serving = True
        self._quiet.clear()
        try:
            message = connection.next_message()
            head = message.head
            if head is None or message.refusal is not None:
                return self._refuse(message)
            around = self._surroundings
            reading = connection.readings.of(head, around.rules, self._rotation.key_headers)
            return await Exchange(request, message, head, reading, around, standing=connection.standing).run()
        finally:
            connection.serving = False
            crowd.end(connection)
            if not crowd.at_work:
                self._quiet.set()

    def _refuse(self, message: Message) -> web.StreamResponse:
        """Answers what cannot be read, or is not to be, and closes: where the next request begins is not known."""
        refusal = message.refusal or refusals.BAD_LINE
        method = message.line.method.decode("ascii") if message.line is not None else "UNKNOWN"
        request_id = new_request_id()
        self._count_refusal(refusal, request_id, method)
        response = replies.refused(refusal, request_id)
        response.force_close()
        return response

    def _count_refusal(self, refusal: Refusal, request_id: str, method: str = "UNKNOWN") -> None:
        self._counters.requests += 1
        self._events.publish(
            RequestFinished(
                method=method,
                route="other",
                status=refusal.status,
                outcome="refused",
                slot=None,
                attempts=0,
                seconds=0.0,
                request_id=request_id,
            )
        )

    def _transports_at_work(self) -> Iterator[asyncio.Transport]:
        return (connection.transport for connection in self._house.crowd.at_work if connection.transport is not None)


def _limits(settings: Settings) -> Limits:
    limits = settings.limits
    return Limits(head=limits.head_bytes, target=limits.target_bytes, body=limits.body_bytes or None)


def _access_rules(settings: Settings) -> AccessRules:
    access = settings.access
    return AccessRules.of(
        allow=access.allow, trusted=access.trusted_networks, proxies=access.proxies, hosts=access.hosts
    )


def _guarded(settings: Settings) -> bool:
    """Whether somebody has said who may come."""
    return bool(settings.access.allow) or settings.access.trusted is not None
