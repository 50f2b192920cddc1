"""Bodies in both directions, piece by piece, each side waiting for the other.

Owns what is held of a request's body for sending it once more, and the client's end of a response. Nothing is decoded
and nothing is gathered: memory per exchange is bounded by the read-ahead of the two connections and by what is held.
"""

from __future__ import annotations

import asyncio
import socket
import struct

from aiohttp import StreamReader, web

from supervisor.balancer import refusals, replies
from supervisor.balancer.held import HeldBytes
from supervisor.balancer.response_head import Framing, ResponseHead
from supervisor.balancer.upstream import Connection
from supervisor.errors import UpstreamError
from supervisor.policy.access import Refusal
from supervisor.rotation import Upstream

SMALL_BODY = 64 * 1024
"""Bytes up to which an announced body is awaited before a replica is asked for: it then goes out in one write."""

# How an empty line looks, whichever of the three line ends is in use (the HTML standard, server-sent events).
_BOUNDARIES = (b"\n\n", b"\n\r\n", b"\r\r", b"\r\r\n")
_LONGEST_BOUNDARY = 3


LEAST_PROGRESS = 1024
"""Bytes of a body that have to come in each span of the patience with it: a byte now and then is not progress."""


class BadBody(Exception):
    """The client's body cannot be read: it is not what the headers announced, or does not come."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class RequestBody:
    """A request's body on its way to a replica, and again to another one while all of it is held."""

    def __init__(
        self,
        content: StreamReader,
        *,
        length: int | None,
        chunked: bool,
        hold: int,
        together: HeldBytes,
        patience: float,
    ) -> None:
        """`length` is what the headers announce.

        `hold` is how many bytes are kept for sending them again, as far as there is room `together` with other bodies.
        `patience` is how many seconds of waiting for the client must bring LEAST_PROGRESS; the time in which the
        replica takes nothing does not count.
        """
        self._content = content
        self._length = length
        self._chunked = chunked
        self._hold = hold
        self._patience = patience
        self._waited = 0.0
        self._came = 0
        self._together = together
        self._counted = 0  # of what is kept, in `together`
        self._kept: list[bytes] = []
        self._size = 0
        self._ended = False
        self.held = True
        self.failure: BadBody | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be read from the client."""
        return self._ended

    @property
    def bytes_held(self) -> bytes:
        return b"".join(self._kept)

    async def gather_if_small(self) -> None:
        """Waits for the whole of a body that is announced as small. Raises BadBody."""
        self._take(self._read_nowait())
        if self._length is None or self._length > SMALL_BODY:
            return
        while not self._ended:
            self._take(await self._read())

    def opening(self) -> bytes:
        """Everything that there is to send without waiting, framed: what is held, then what has arrived since."""
        self._take(self._read_nowait())
        return b"".join(self._framed(piece) for piece in self._kept) + (self._last() if self._ended else b"")

    def opening_sent(self) -> None:
        """A replica has got the opening: it is kept only for a request that may be sent twice."""
        self._let_go()

    async def pump(self, connection: Connection) -> None:
        """Sends the rest as it comes. On a body that cannot be read the connection is aborted, and `failure` set."""
        try:
            while not self._ended:
                piece = await self._read()
                self._take(piece)
                self._let_go()
                if piece:
                    await connection.write(self._framed(piece))
            if self._chunked:
                await connection.write(self._last())
        except BadBody as failure:
            self.failure = failure
            connection.abort()

    async def _read(self) -> bytes:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(max(0.0, self._patience - self._waited)):
                piece = await self._content.readany()
        except TimeoutError:
            raise BadBody(refusals.SLOW_BODY) from None
        except BadBody:
            raise
        except Exception as error:
            raise BadBody(refusals.BAD_BODY) from error
        self._came += len(piece)
        if self._came >= LEAST_PROGRESS:
            self._waited, self._came = 0.0, 0
        else:
            self._waited += loop.time() - began
        return piece

    def _read_nowait(self) -> bytes:
        try:
            return self._content.read_nowait()
        except BadBody:
            raise
        except Exception as error:
            raise BadBody(refusals.BAD_BODY) from error

    def _take(self, piece: bytes) -> None:
        if piece:
            self._size += len(piece)
            if self.held:
                self._kept.append(piece)
        self._ended = self._content.at_eof()

    def forget(self) -> None:
        """Keeps nothing any more: this body will not be sent again."""
        self.held = False
        self._kept.clear()
        self._together.give_back(self._counted)
        self._counted = 0

    def _let_go(self) -> None:
        if not self.held:
            return
        if self._size > self._hold or not self._together.take(self._size - self._counted):
            self.forget()
        else:
            self._counted = self._size

    def _framed(self, piece: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece

    def _last(self) -> bytes:
        return b"0\r\n\r\n" if self._chunked else b""


class ClientGone(Exception):
    """The client's connection has ended before its response did."""


class ClientStream:
    """The client's end of one response: bytes go out as they are given, framed as announced."""

    __slots__ = ("_events", "_framing", "_patience", "_request", "_tail", "begun")

    def __init__(self, request: web.BaseRequest, *, patience: float) -> None:
        """`patience` is how many seconds the client may take nothing of what waits for it."""
        self._request = request
        self._patience = patience
        self._framing = Framing.NONE
        self._events = False
        self._tail = b""
        self.begun = False

    def begin(self, head: bytes, framing: Framing, first: list[bytes], *, last: bool, events: bool = False) -> bool:
        """The response's head, together with what has arrived of its body, as `put`. `events`: it consists of them."""
        self._framing = framing
        self._events = events
        self.begun = True
        return self._put(head + self._framed(first, last=last) if first or last else head)

    def put(self, pieces: list[bytes], *, last: bool) -> bool:
        """More of the body; False when nothing more should come before `ready`."""
        return self._put(self._framed(pieces, last=last))

    async def ready(self) -> None:
        """Returns when the client can take more. Raises ClientGone."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ClientGone
        if self._request.protocol.writing_paused:
            try:
                async with asyncio.timeout(self._patience):
                    await self._request.writer.drain()
            except TimeoutError:
                transport.abort()
                raise ClientGone from None
            except ConnectionError:
                raise ClientGone from None

    def interim(self, head: bytes) -> None:
        """An interim response, before everything else."""
        transport = self._request.transport
        if not self.begun and transport is not None and not transport.is_closing():
            transport.write(head)

    @property
    def at_event_boundary(self) -> bool:
        """Whether this is a stream of events, and ends so far where one of them does."""
        return self._events and (not self._tail or self._tail.endswith(_BOUNDARIES))

    async def break_off(self, event: bytes = b"") -> None:
        """Ends the connection so that the response cannot look complete, after one last event if there is one."""
        transport = self._request.transport
        if transport is None:
            return
        if event and self._framing is Framing.CHUNKED:
            transport.write(self._framed([event], last=False))
            transport.close()
            return
        if self._framing is Framing.CLOSE:
            # There an orderly end would look like the end of the body: only a reset does not.
            sock = transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def _framed(self, pieces: list[bytes], *, last: bool) -> bytes:
        if self._events and pieces:
            end = pieces[-1][-_LONGEST_BOUNDARY:]
            if len(end) < _LONGEST_BOUNDARY:
                end = (self._tail + b"".join(pieces))[-_LONGEST_BOUNDARY:]
            self._tail = end
        if self._framing is not Framing.CHUNKED:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        framed = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
        if last:
            framed.append(b"0\r\n\r\n")
        return framed[0] if len(framed) == 1 else b"".join(framed)

    def _put(self, data: bytes) -> bool:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            return False
        if data:
            transport.write(data)
        return not self._request.protocol.writing_paused


async def relay_response(
    connection: Connection,
    client: ClientStream,
    upstream: Upstream,
    response: ResponseHead,
    head: bytes,
    *,
    framing: Framing,
    route: str,
) -> None:
    """The response, from its head to its end, chunk by chunk as it arrives.

    Raises UpstreamError when it is cut, after having made that visible to the client, and ClientGone.
    """
    try:
        first = connection.arrived()
        upstream.last_byte_at = connection.active_at
        events = response.is_event_stream
        if not client.begin(head, framing, first, last=connection.complete, events=events):
            await client.ready()
        if not connection.complete:
            await pass_on(connection, client, upstream)
    except UpstreamError as error:
        await client.break_off(replies.error_event(route, str(error)) if client.at_event_boundary else b"")
        raise


async def pass_on(connection: Connection, client: ClientStream, upstream: Upstream) -> None:
    """What still comes from the replica, in the turn in which it comes. Raises UpstreamError and ClientGone."""

    def put(pieces: list[bytes]) -> bool:
        upstream.last_byte_at = connection.active_at
        return client.put(pieces, last=connection.complete)

    while not connection.complete:
        if not await connection.pour(put):
            await client.ready()
