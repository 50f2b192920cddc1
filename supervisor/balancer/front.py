"""One client's connection: aiohttp's handler of requests, behind the guard.

Owns what aiohttp's own handler leaves out: which bytes reach its parser (`guard`), how long a head may take, who makes
room when all places are taken (`crowd`), and a close that does not take the last answer with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import hdrs, web

from supervisor.balancer import refusals, replies
from supervisor.balancer.crowd import Crowd, Place
from supervisor.balancer.grammar import Limits
from supervisor.balancer.guard import Guard
from supervisor.balancer.headers import new_request_id
from supervisor.balancer.message import Message
from supervisor.balancer.reading import Readings
from supervisor.policy.access import Refusal

LINGERING = 5.0
"""Seconds for which what a client still sends is read and thrown away after its answer: closing at once would make the
kernel send a reset, which can overtake the answer."""


@dataclass(frozen=True, slots=True)
class House:
    """What all connections share. `refused` is told of a request that aiohttp refused by itself."""

    limits: Limits
    head_timeout: float
    crowd: Crowd[ClientConnection]
    refused: Callable[[Refusal, str], None]


class ClientConnection(web.RequestHandler):
    """`next_message` tells a handler what the guard found out, `readings` what heads mean that come from here.

    `serving` is set while a handler is at work.
    """

    __slots__ = ("_guard", "_head_timer", "_house", "_wire", "readings", "serving", "standing")

    def __init__(self, server: web.Server, house: House, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(server, loop=loop, lingering_time=LINGERING, **options)
        self._house = house
        self._guard = Guard(house.limits)
        self._head_timer: asyncio.TimerHandle | None = None
        self._wire: asyncio.BaseTransport | None = None  # to its very end, where aiohttp forgets it earlier
        self.readings = Readings("")
        self.serving = False
        self.standing = False

    def next_message(self) -> Message:
        """What the guard knows of the request that aiohttp hands out next: both keep the order of the connection."""
        return self._guard.messages.popleft()

    def make_room(self) -> None:
        """Ends the connection now. An orderly end would wait for a client that may never read what it was sent."""
        self.force_close()
        if self._wire is not None:
            cast("asyncio.Transport", self._wire).abort()

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._wire = transport
        peer = transport.get_extra_info("peername")
        address = peer[0] if isinstance(peer, tuple) else ""
        self.readings = Readings(address)
        place, leaving = self._house.crowd.arrive(self, address)
        if leaving is not None:
            leaving.make_room()
        if place is Place.NONE:
            cast("asyncio.Transport", transport).abort()
        elif place is Place.STANDING:
            self.standing = True
            self._head_timer = self._loop.call_later(self._house.head_timeout, self._head_is_late)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._house.crowd.leave(self)
        self._stop_timer()
        self._wire = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not data:  # aiohttp asks its parser to go on with what it has
            super().data_received(data)
            return
        guard = self._guard
        for passed in guard.feed(data):
            super().data_received(passed)
        if guard.within_head:
            if self._head_timer is None:
                self._head_timer = self._loop.call_later(self._house.head_timeout, self._head_is_late)
        elif self._head_timer is not None:
            self._stop_timer()

    def eof_received(self) -> None:
        """A client that has closed its side is gone: nobody can tell whether it still reads."""
        if self.serving and self.transport is not None:
            self.transport.abort()

    # web.RequestHandler.

    def set_parser(self, parser: Any, data_received_cb: Callable[[], None] | None = None) -> None:
        super().set_parser(parser, data_received_cb)
        for rest in self._guard.switched():
            super().data_received(rest)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if resp is replies.KEPT and hdrs.UPGRADE not in request.headers:
            return resp, False  # it has been written, and neither aiohttp's parser nor the guard waits for what it says
        response, reset = await super().finish_response(request, resp, start_time)
        if not reset and response.keep_alive:
            # Only the last request can be one for a WebSocket, and this one was not granted.
            if not self._guard.messages:
                for rest in self._guard.declined():
                    super().data_received(rest)
        elif not request.content.is_eof():
            # A body that was refused raises that in whoever reads it: aiohttp too, which lingers by reading.
            request.content.set_exception(cast("Any", None))
            self._half_close()
        return response, reset

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """In the shape of all other errors; neither the bytes nor the reason are repeated, as they may hold keys."""
        request_id = new_request_id()
        if status >= 500:
            response = replies.broken(request_id)
        else:
            response = replies.refused(refusals.BAD_FIELD, request_id)
            self._house.refused(refusals.BAD_FIELD, request_id)
        response.force_close()
        response.headers["Connection"] = "close"  # aiohttp takes what it cannot read for HTTP/1.0, and leaves it out
        return response

    # Inside.

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._guard.within_head:
            for passed in self._guard.refuse(refusals.SLOW_HEAD):
                super().data_received(passed)
        elif self.standing and not self.serving:
            self.force_close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _half_close(self) -> None:
        transport = self.transport
        if transport is not None and not transport.is_closing():
            with contextlib.suppress(OSError, RuntimeError, NotImplementedError):
                transport.write_eof()
