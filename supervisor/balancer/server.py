"""The front: the port that applications use.

Owns the listening sockets, the client connections and the orderly end of both. aiohttp's low-level server reads
requests; what happens to each is `exchange`'s story.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence

from aiohttp import web

from supervisor.balancer.exchange import Counters, Exchange, Surroundings
from supervisor.balancer.held import HeldBytes
from supervisor.balancer.listen import BACKLOG, describe, listen, refuse_exposure
from supervisor.balancer.pool import Pool
from supervisor.events import Events
from supervisor.policy.access import AccessRules
from supervisor.rotation import Rotation
from supervisor.settings.schema import Settings
from supervisor.status import BalancerStatus, Status

HEADER_LIMIT = 32 * 1024
"""Bytes of one header field, or of the request line."""

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
        self._counters = Counters()
        self._pool = Pool(
            connect_timeout=settings.balancer.connect_timeout, idle_timeout=settings.balancer.idle_upstream_timeout
        )
        rules = AccessRules.of(
            allow=settings.access.allow,
            trusted=settings.access.trusted_networks,
            proxies=settings.access.proxies,
            hosts=settings.access.hosts,
        )
        self._stopping = asyncio.Event()
        self._surroundings = Surroundings(
            rotation=rotation,
            pool=self._pool,
            rules=rules,
            events=events,
            health=health,
            counters=self._counters,
            response_timeout=settings.balancer.response_timeout,
            queue_timeout=settings.queue.timeout,
            body_limit=settings.retry.body_limit,
            held=HeldBytes(settings.retry.held_bytes),
            stopping=self._stopping,
        )
        self._listening: tuple[str, ...] = ()
        self._servers: list[asyncio.Server] = []
        self._front: web.Server | None = None
        self._busy: set[web.RequestHandler] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        rotation.on_removed(self._pool.drop)

    async def start(self, sockets: Sequence[socket.socket] = ()) -> tuple[str, ...]:
        """Listens, on `sockets` if any are given, and returns the addresses.

        Raises PortTaken, LitesupError or ConfigurationRefused, and then nothing listens.
        """
        balancer, access = self._settings.balancer, self._settings.access
        opened = list(sockets) or await listen(balancer.host, balancer.port)
        loop = asyncio.get_running_loop()
        self._front = web.Server(
            self._handle,
            handler_cancellation=True,
            access_log=None,
            logger=_SILENT,
            auto_decompress=False,
            keepalive_timeout=balancer.keepalive_timeout,
            max_line_size=HEADER_LIMIT,
            max_field_size=HEADER_LIMIT,
        )
        try:
            refuse_exposure(opened, guarded=bool(access.allow) or access.trusted is not None)
            self._servers = [await loop.create_server(self._front, sock=sock, backlog=BACKLOG) for sock in opened]
        except BaseException:
            for sock in opened:
                sock.close()
            raise
        self._listening = tuple(describe(sock) for sock in opened)
        return self._listening

    async def stop(self, drain: float) -> None:
        """Accepts nothing more, lets what is in flight finish for at most `drain` seconds, then ends it."""
        self._stopping.set()
        for server in self._servers:
            server.close()
        if self._front is None:
            return
        for connection in self._front.connections:
            if connection not in self._busy:
                connection.force_close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain):
                await self._quiet.wait()
        await self._front.shutdown(timeout=_AT_ONCE if self._busy else _LAST_WORDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._quiet.wait()
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
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        self._busy.add(connection)
        self._quiet.clear()
        try:
            return await Exchange(request, self._surroundings).run()
        finally:
            self._busy.discard(connection)
            if not self._busy:
                self._quiet.set()
