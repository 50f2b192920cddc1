"""The connection to a replica: what was sent is known, not guessed.

Owns one socket to a replica; `response` reads what comes back. The first write of every request goes to the kernel by
hand, so that "no byte was taken" is a fact that `NotSent` can be built on. Knows nothing of clients.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from supervisor.balancer.response import ResponseReader
from supervisor.balancer.response_head import BadResponse, ResponseHead
from supervisor.errors import NotSent, ReplicaGivenUp, ReplicaLost, ResponseCut, UpstreamError

READ_AHEAD = 256 * 1024
"""Bytes of a response that may wait for a slow client before the replica is made to wait."""


_LOOK_AGAIN = 0.05
"""Seconds after which what was there to be read has been."""

Take = Callable[[list[bytes]], bool]
"""Gets what has come of a body, at once; False: no more for now."""

Told = Callable[[], None]
"""Is called once, when something has come of the answer, or its end."""


class ResponseTimeout(UpstreamError):
    """The replica took the request and then said nothing for too long."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """How an exchange failed. No exception: one that was raised holds everything that it passed through."""

    kind: type[UpstreamError]
    how: str

    def error(self) -> UpstreamError:
        return self.kind(self.how)


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time.

    An exchange is `send` (once), `write` (the rest of the body), `head`, then `pour` until the response is `complete`.
    Whoever does not come to that end calls `abort`.
    """

    __slots__ = (
        "_buffered",
        "_busy",
        "_drained",
        "_failure",
        "_loop",
        "_on_idle_end",
        "_poll",
        "_reading_paused",
        "_received",
        "_response",
        "_rings_at",
        "_sock",
        "_take",
        "_timeout",
        "_timer",
        "_told",
        "_transport",
        "_tunnel",
        "_wanted",
        "_writing_paused",
        "active_at",
        "closed",
        "complete",
        "on_writable",
        "reusable",
        "used",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, on_idle_end: Callable[[Connection], None]
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._poll = select.poll()  # are bytes, or the replica's end, there to be read? The loop comes to them later
        self._poll.register(sock, select.POLLIN | select.POLLRDHUP)
        self._on_idle_end = on_idle_end
        self._transport: asyncio.Transport | None = None
        self._response = ResponseReader()
        self._buffered = 0  # bytes that came and were not taken, heads included
        self._received = False
        self._failure: _Failure | None = None
        self._reading_paused = False
        self._writing_paused = False
        self._take: Take | None = None  # somebody gets what comes of the body as it comes
        self._told: Told | None = None
        self._wanted: asyncio.Future[bool] | None = None  # somebody waits for a response, or for more of it
        self._drained: asyncio.Future[None] | None = None  # somebody waits until more can be written
        self._timer: asyncio.TimerHandle | None = None  # goes on from one exchange to the next
        self._rings_at = 0.0
        self._timeout = 0.0
        self._busy = False
        self._tunnel = False
        self.on_writable: Callable[[], None] | None = None  # of a tunnel: `push` may go on
        self.active_at = 0.0  # when a byte last came or went, on the loop's clock
        self.complete = False  # the response has ended as it should, and all of it has been handed out
        self.closed = False
        self.reusable = True
        self.used = 0

    # The exchange.

    def send(
        self,
        data: bytes,
        *,
        timeout: float,
        head_only: bool = False,
        websocket: bool = False,
        on_interim: Callable[[ResponseHead], None] | None = None,
        told: Told | None = None,
    ) -> None:
        """Begins an exchange with the request's first bytes. Raises NotSent.

        `timeout` is how many seconds the replica may be silent, from the last byte written to the first received, and
        between those that follow. `head_only` is true for HEAD, `websocket` where a 101 is asked for; `on_interim` gets
        the heads of other interim responses.
        """
        if self.closed or self._transport is None or self._transport.is_closing():
            raise NotSent("the connection had ended before anything was written")
        self._busy = True
        self.used += 1
        if self.used > 1 and self._poll.poll(0):  # an end, or bytes that nobody asked for
            self.abort()
            raise NotSent("the connection had ended before anything was written")
        try:
            taken = self._sock.send(data)
        except BlockingIOError:
            taken = 0
        except OSError as error:
            self.abort()
            raise NotSent(f"nothing could be written: {error.strerror or type(error).__name__}") from None
        self._response.begin(head_only=head_only, websocket=websocket, on_interim=on_interim)
        self._received = self.complete = False
        self._told = told
        self._timeout = timeout
        self.active_at = now = self._loop.time()
        if self._timer is None or self._rings_at > now + timeout:
            self._ring_in(timeout)
        if taken < len(data):
            self._transport.write(data[taken:])

    async def write(self, data: bytes) -> None:
        """Sends more of the request; returns when the replica can take still more. Does nothing once it has ended."""
        if self.closed or self._transport is None:
            return
        self.active_at = self._loop.time()
        self._transport.write(data)
        if self._writing_paused:
            self._drained = self._loop.create_future()
            await self._drained
            self.active_at = self._loop.time()

    def whole(self) -> ResponseHead | None:
        """The response's head, where everything else has come as well."""
        response = self._response
        return response.head if response.complete and self._failure is None else None

    async def head(self) -> ResponseHead:
        """The response's head, as soon as there is something to pass on.

        Raises ReplicaLost where the replica ended before that, ResponseCut or ResponseTimeout.
        """
        response = self._response
        while not response.begun:
            if self._failure is not None:
                raise self._failure.error()
            await self._wait()
        assert response.head is not None
        return response.head

    async def pour(self, take: Take) -> bool:
        """Hands the body to `take` as it comes, in the pieces in which the replica sent it, and its end, if need be
        without any.

        Returns True when the response is complete, and False when `take` wants no more for now. Raises ResponseCut or
        ResponseTimeout, after everything that arrived has been handed out.
        """
        response = self._response
        while not self.complete:
            if response.pieces or response.complete:
                if not take(self.arrived()):
                    return False
                continue
            if self._failure is not None:
                raise self._failure.error()
            self._take = take
            try:
                if not await self._wait():
                    return False
            finally:
                self._take = None
        return True

    def arrived(self) -> list[bytes]:
        """What has arrived of the body since the last call, without waiting."""
        response = self._response
        pieces, response.pieces = response.pieces, []
        self.complete = response.complete
        self._buffered = 0
        if self._reading_paused and self._transport is not None and not self.closed:
            self._reading_paused = False
            self.active_at = self._loop.time()
            self._transport.resume_reading()
        return pieces

    def finish(self) -> bool:
        """Ends the exchange; whether the connection can serve another."""
        self._busy = False
        transport, response = self._transport, self._response
        if (
            self.closed
            or transport is None
            or not (self.reusable and response.complete and response.reusable)
            or transport.get_write_buffer_size()
        ):
            self.abort()
            return False
        return True

    def give_up(self) -> None:
        """Ends the wait for a response of which no byte has come; does nothing about one that has begun."""
        if self._busy and not self._received:
            self._fail(ReplicaGivenUp, "the replica does not answer its probes any more")
            self.abort()  # now, so that an answer that comes in this very turn is nobody's

    def abort(self) -> None:
        """Closes at once, whatever is going on: the replica sees the end of the connection."""
        self.closed = True
        # Whoever these belong to holds this connection: what holds each other stays until somebody looks for garbage.
        self._told = self.on_writable = None
        self._response.let_go()
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()

    def tunnel(self) -> None:
        """From now on bytes are only passed on, with `push` and `body`: the replica has switched protocols."""
        self._tunnel = True
        self.reusable = False
        self._stop_timer()

    def push(self, data: bytes) -> bool:
        """Sends bytes through the tunnel; False when the next ones should wait until `on_writable` is called."""
        if self.closed or self._transport is None:
            return True
        self._transport.write(data)
        return not self._writing_paused

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        if not self._busy:
            # Nobody asked for anything: whatever this is, no later response can be told from it.
            self.reusable = False
            self.abort()
            self._on_idle_end(self)
            return
        self._received = True
        self.active_at = self._loop.time()
        response = self._response
        try:
            response.feed(data)
        except BadResponse as bad:
            self._fail(ResponseCut, f"the replica's answer cannot be passed on: {bad}")
            self.abort()
        take = self._take
        if take is None:
            self._buffered += len(data)
            if self._buffered > READ_AHEAD and not self._reading_paused and self._transport is not None:
                self._reading_paused = True
                self._transport.pause_reading()
        elif response.pieces or response.complete:
            taken = take(self.arrived())
            if taken and self._failure is None and not self.complete:
                return
            self._take = None  # whoever waits may not come to its turn before more does
            self._wake(taken=taken)
            return
        self._wake()

    def eof_received(self) -> bool:
        self._end("the replica closed the connection")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._transport = None
        self._end("the replica closed the connection", broken=exc is not None)
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self.on_writable is not None:
            self.on_writable()
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # Inside.

    def _end(self, how: str, *, broken: bool = False) -> None:
        self.reusable = False
        if not self._busy:
            if not self.closed:
                self.abort()
            self._on_idle_end(self)
            return
        if self._response.complete:
            return
        if (broken and not self._tunnel) or not self._response.end():
            self._fail(ResponseCut if self._response.begun else ReplicaLost, how)
        self._wake()

    def _fail(self, kind: type[UpstreamError], how: str) -> None:
        if self._failure is None:
            self._failure = _Failure(kind, how)
        self._wake()

    async def _wait(self) -> bool:
        """Whether what came meanwhile was taken, if it was given to somebody."""
        self._wanted = self._loop.create_future()
        try:
            return await self._wanted
        finally:
            self._wanted = None

    def _wake(self, *, taken: bool = True) -> None:
        if self._told is not None:
            told, self._told = self._told, None
            told()
        elif self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(taken)

    def _check_silence(self) -> None:
        """Silence counts only while the replica could speak: not while it is made to wait for a slow client."""
        self._timer = None
        if not self._busy or self._tunnel:
            return  # the next exchange winds it up again
        now = self._loop.time()
        if self._reading_paused:
            self.active_at = now
        left = self.active_at + self._timeout - now
        if left > 0:
            self._ring_in(left)
            return
        if self._poll.poll(0):  # what came while nobody looked, as when the daemon itself was stopped, is no silence
            self._ring_in(_LOOK_AGAIN)
            return
        self._fail(ResponseTimeout, f"the replica was silent for {self._timeout:g} s")
        self.abort()  # now, so that an answer that comes in this very turn is nobody's

    def _ring_in(self, seconds: float) -> None:
        self._stop_timer()
        self._rings_at = self._loop.time() + seconds
        self._timer = self._loop.call_later(seconds, self._check_silence)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
