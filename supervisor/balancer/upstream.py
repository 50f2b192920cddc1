"""The connection to a replica: what was sent is known, not guessed.

Owns one socket to a replica; `response` reads what comes back. The first write of every request goes to the kernel by
hand, so that "no byte was taken" is a fact that `NotSent` can be built on. Knows nothing of clients.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from supervisor.balancer.response import BadResponse, ResponseHead, ResponseReader
from supervisor.errors import NotSent, ReplicaGivenUp, ReplicaLost, ResponseCut, UpstreamError

READ_AHEAD = 256 * 1024
"""Bytes of a response that may wait for a slow client before the replica is made to wait."""


_LOOK_AGAIN = 0.05
"""Seconds after which what was there to be read has been."""


class ResponseTimeout(UpstreamError):
    """The replica took the request and then said nothing for too long."""


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time.

    An exchange is `send` (once), `write` (the rest of the body), `head`, then `body` until it returns nothing. Whoever
    does not come to that end calls `abort`.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, on_idle_end: Callable[[Connection], None]
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._on_idle_end = on_idle_end
        self._transport: asyncio.Transport | None = None
        self._response: ResponseReader | None = None
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._received = False
        self._failure: UpstreamError | None = None
        self._reading_paused = False
        self._writing_paused = False
        self._wanted: asyncio.Future[None] | None = None  # somebody waits for a response, or for more of it
        self._drained: asyncio.Future[None] | None = None  # somebody waits until more can be written
        self._timer: asyncio.TimerHandle | None = None
        self._timeout = 0.0
        self._active_at = 0.0
        self._busy = False
        self._tunnel = False
        self.on_writable: Callable[[], None] | None = None  # of a tunnel: `push` may go on
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
        try:
            if self.used > 1 and self._unread():  # an end, or bytes that nobody asked for
                raise NotSent("the connection had ended before anything was written")
            taken = self._sock.send(data)
        except BlockingIOError:
            taken = 0
        except OSError as error:
            self.abort()
            raise NotSent(f"nothing could be written: {error.strerror or type(error).__name__}") from None
        except NotSent:
            self.abort()
            raise
        self._response = ResponseReader(self._add, head_only=head_only, websocket=websocket, on_interim=on_interim)
        self._received = False
        self._timeout = timeout
        self._active_at = self._loop.time()
        self._timer = self._loop.call_later(timeout, self._check_silence)
        if taken < len(data):
            self._transport.write(data[taken:])

    async def write(self, data: bytes) -> None:
        """Sends more of the request; returns when the replica can take still more. Does nothing once it has ended."""
        if self.closed or self._transport is None:
            return
        self._active_at = self._loop.time()
        self._transport.write(data)
        if self._writing_paused:
            self._drained = self._loop.create_future()
            await self._drained
            self._active_at = self._loop.time()

    async def head(self) -> ResponseHead:
        """The response's head. Raises ReplicaLost, ResponseCut or ResponseTimeout."""
        assert self._response is not None
        while self._response.head is None:
            if self._failure is not None:
                raise self._failure
            await self._wait()
        return self._response.head

    async def body(self) -> list[bytes]:
        """What has arrived of the body since the last call, waiting for it if need be; nothing at its end.

        The pieces are those in which the replica sent it. Raises ResponseCut or ResponseTimeout, after everything that
        arrived has been handed out.
        """
        while not self._chunks:
            if self._ended:
                return self._chunks
            if self._failure is not None:
                raise self._failure
            await self._wait()
        return self.arrived()

    def arrived(self) -> list[bytes]:
        """What has arrived of the body since the last call, without waiting."""
        chunks, self._chunks = self._chunks, []
        self._buffered = 0
        if self._reading_paused and self._transport is not None and not self.closed:
            self._reading_paused = False
            self._active_at = self._loop.time()
            self._transport.resume_reading()
        return chunks

    @property
    def complete(self) -> bool:
        """Whether the response has ended as it should, and all of it has been handed out."""
        return self._ended and not self._chunks

    def finish(self) -> bool:
        """Ends the exchange; whether the connection can serve another."""
        self._stop_timer()
        whole = self._ended and self._response is not None and self._response.reusable
        self._response = None
        self._busy = False
        unsent = self._transport is not None and self._transport.get_write_buffer_size() > 0
        if self.closed or not self.reusable or not whole or unsent:
            self.abort()
            return False
        return True

    def give_up(self) -> None:
        """Ends the wait for a response of which no byte has come; does nothing about one that has begun."""
        if self._busy and not self._received:
            self._fail(ReplicaGivenUp("the replica does not answer its probes any more"))
            self.abort()  # now, so that an answer that comes in this very turn is nobody's

    def abort(self) -> None:
        """Closes at once, whatever is going on: the replica sees the end of the connection."""
        self.closed = True
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
        if self._tunnel:
            self._add(data)
            self._wake()
            return
        response = self._response
        if response is None:
            # Nobody asked for anything: whatever this is, no later response can be told from it.
            self.reusable = False
            self.abort()
            self._on_idle_end(self)
            return
        if self.closed:
            return
        self._received = True
        self._active_at = self._loop.time()
        try:
            response.feed(data)
        except BadResponse as bad:
            self._fail(ResponseCut(f"the replica's answer cannot be passed on: {bad}"))
            self.abort()
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

    @property
    def _ended(self) -> bool:
        return self._response is not None and self._response.complete

    def _add(self, data: bytes) -> None:
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > READ_AHEAD and not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def _end(self, how: str, *, broken: bool = False) -> None:
        self.reusable = False
        if not self._busy:
            if not self.closed:
                self.abort()
            self._on_idle_end(self)
            return
        response = self._response
        if response is None or self._ended:
            return
        if (broken and not self._tunnel) or not response.end():
            self._fail(ResponseCut(how) if self._received else ReplicaLost(how))
        self._wake()

    def _fail(self, failure: UpstreamError) -> None:
        if self._failure is None:
            self._failure = failure
        self._wake()

    async def _wait(self) -> None:
        self._wanted = self._loop.create_future()
        try:
            await self._wanted
        finally:
            self._wanted = None

    def _wake(self) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    def _check_silence(self) -> None:
        """Silence counts only while the replica could speak: not while it is made to wait for a slow client."""
        now = self._loop.time()
        if self._reading_paused:
            self._active_at = now
        left = self._active_at + self._timeout - now
        if left > 0:
            self._timer = self._loop.call_later(left, self._check_silence)
            return
        if self._unread():  # what came while nobody looked, as when the daemon itself was stopped, is no silence
            self._timer = self._loop.call_later(_LOOK_AGAIN, self._check_silence)
            return
        self._timer = None
        self._fail(ResponseTimeout(f"the replica was silent for {self._timeout:g} s"))
        self.abort()  # now, so that an answer that comes in this very turn is nobody's

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _unread(self) -> bool:
        """Whether bytes, or the replica's end of the connection, are there to be read: the loop comes to them later."""
        try:
            self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True
