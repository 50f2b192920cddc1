"""The front: the port that applications use.

Owns the listening sockets, the rules that are in force, and the orderly end of all client connections. What one of
these does is `front`'s business, what happens to a request is `exchange`'s story.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
from collections.abc import Callable, Iterator, Sequence

from supervisor.balancer.crowd import Crowd, affordable
from supervisor.balancer.departures import Departures
from supervisor.balancer.door import Door
from supervisor.balancer.front import ClientConnection, House
from supervisor.balancer.grammar import Limits
from supervisor.balancer.held import HeldBytes
from supervisor.balancer.listen import describe, listen, refuse_exposure
from supervisor.balancer.pool import Pool
from supervisor.balancer.surroundings import Counters, Surroundings
from supervisor.events import Events
from supervisor.policy.access import AccessRules
from supervisor.rotation import Rotation
from supervisor.settings.schema import Settings
from supervisor.status import BalancerStatus, Status

_LAST_WORDS = 1.0  # seconds that connections get to end when the drain is over


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
        self._stopping = asyncio.Event()
        limits = settings.limits
        self._house = House(
            limits=_limits(settings),
            head_timeout=limits.head_timeout,
            keepalive_timeout=settings.balancer.keepalive_timeout,
            crowd=Crowd(affordable(limits.connections), limits.connections_per_address),
            ended=asyncio.Event(),
            unread=set(),
            around=Surroundings(
                rotation=rotation,
                pool=self._pool,
                rules=_access_rules(settings),
                events=events,
                health=health,
                counters=self._counters,
                response_timeout=settings.balancer.response_timeout,
                queue_timeout=settings.queue.timeout,
                body_timeout=limits.body_timeout,
                body_limit=settings.retry.body_limit,
                held=HeldBytes(settings.retry.held_bytes),
                stopping=self._stopping,
            ),
        )
        self._listening: tuple[str, ...] = ()
        self._doors: list[Door] = []
        self._departures = Departures(self._unread)
        rotation.on_removed(self._pool.drop)

    async def start(self, sockets: Sequence[socket.socket] = ()) -> tuple[str, ...]:
        """Listens, on `sockets` if any are given, and returns the addresses.

        Raises PortTaken, LitesupError or ConfigurationRefused, and then nothing listens.
        """
        balancer = self._settings.balancer
        opened = list(sockets) or await listen(balancer.host, balancer.port)
        loop = asyncio.get_running_loop()
        doors: list[Door] = []
        try:
            refuse_exposure(opened, guarded=_guarded(self._settings))
            for sock in opened:
                doors.append(Door(loop, sock, lambda: ClientConnection(self._house, loop)))  # noqa: PERF401
        except BaseException:
            for door in doors:
                await door.close()
            for sock in opened:
                sock.close()
            raise
        self._doors = doors
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
        house, around = self._house, self._house.around
        house.crowd.rule(affordable(limits.connections), limits.connections_per_address)
        house.limits = _limits(settings)
        house.head_timeout = limits.head_timeout
        house.keepalive_timeout = balancer.keepalive_timeout
        around.held.limit = settings.retry.held_bytes
        house.around = dataclasses.replace(
            around,
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
            await door.close()
        crowd = self._house.crowd
        for connection in crowd.all():
            if connection not in crowd.at_work:
                connection.end()
        await self._all_gone(drain)
        for connection in tuple(crowd.at_work):
            connection.cut()
        await self._all_gone(_LAST_WORDS)
        for connection in crowd.all():
            connection.end_now()
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
            held_bytes=self._house.around.held.used,
            clients=len(self._house.crowd),
            idle_upstream=self._pool.idle,
            turned_away=self._house.crowd.turned_away,
        )

    async def _all_gone(self, seconds: float) -> None:
        """Waits until every connection has ended, with all that its client was to get, for at most that long."""
        house = self._house
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(house.crowd) or house.crowd.at_work:
                    house.ended.clear()
                    await house.ended.wait()

    def _unread(self) -> Iterator[asyncio.Transport]:
        return (connection.transport for connection in self._house.unread if connection.transport is not None)


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
