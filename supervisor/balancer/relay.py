"""A response on its way to the client, piece by piece, each side waiting for the other.

Owns the client's end of it. Nothing is decoded and nothing is gathered: memory per exchange is bounded by the
read-ahead of the two connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Protocol

from supervisor.balancer import replies
from supervisor.balancer.response_head import CHUNKED, CLOSE, NONE, Framing, ResponseHead
from supervisor.balancer.upstream import Connection
from supervisor.errors import UpstreamError
from supervisor.rotation import Upstream

# How an empty line looks, whichever of the three line ends is in use (the HTML standard, server-sent events).
_BOUNDARIES = (b"\n\n", b"\n\r\n", b"\r\r", b"\r\r\n")
_LONGEST_BOUNDARY = 3


class ClientGone(Exception):
    """The client's connection has ended before its response did."""


class Client(Protocol):
    """A client's connection, as far as one exchange needs it."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """None when it has ended."""
        ...

    @property
    def standing(self) -> bool:
        """Whether it has no place, and gets one answer, which no replica is asked for."""
        ...

    @property
    def writing_paused(self) -> bool:
        """Whether what was written waits for the client to take it."""
        ...

    def drained(self) -> Awaitable[None]:
        """Returns when the client has taken what was written."""
        ...

    def hand_over(self, sink: Callable[[bytes], None]) -> None:
        """What the client sends from now on, and has sent behind its request, is another protocol's."""
        ...

    def pause_reading(self) -> None:
        """Whoever gets what the client sends cannot take more of it for now. Twice does nothing."""
        ...

    def resume_reading(self) -> None: ...

    def finished(self, *, keep_alive: bool) -> None:
        """The exchange is over; whether the connection can serve another."""
        ...


def reset(transport: asyncio.Transport) -> None:
    """Ends a client's connection now, and not in order: where its end is that of the answer, what came would look
    whole.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):  # it has ended
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def end_now(transport: asyncio.Transport) -> None:
    """Ends a client's connection without waiting until it has taken what it was sent: with a reset, if it has not."""
    if transport.get_write_buffer_size():
        reset(transport)
    else:
        transport.abort()


class ClientStream:
    """The client's end of one response: bytes go out as they are given, framed as announced."""

    __slots__ = (
        "_chunked",
        "_client",
        "_events",
        "_framing",
        "_patience",
        "_tail",
        "_transport",
        "begun",
    )

    def __init__(self, client: Client, patience: float) -> None:
        """`patience` is how many seconds the client may take nothing of what waits for it."""
        self._client = client
        self._patience = patience
        self._transport = client.transport
        self._framing = NONE
        self._chunked = self._events = False
        self._tail = b""
        self.begun = False

    def begin(self, head: bytes, framing: Framing, first: list[bytes], *, last: bool, events: bool = False) -> bool:
        """The response's head, together with what has arrived of its body, as `put`. `events`: it consists of them."""
        self._framing = framing
        self._chunked = framing is CHUNKED
        self._events = events
        self.begun = True
        return self._put(head + self._framed(first, last=last) if first or last else head)

    def put(self, pieces: list[bytes], *, last: bool) -> bool:
        """More of the body; False when nothing more should come before `ready`."""
        return self._put(self._framed(pieces, last=last))

    async def ready(self) -> None:
        """Returns when the client can take more. Raises ClientGone."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ClientGone
        if self._client.writing_paused:
            try:
                async with asyncio.timeout(self._patience):
                    await self._client.drained()
            except TimeoutError:
                end_now(transport)
                raise ClientGone from None

    def interim(self, head: bytes) -> None:
        """An interim response, before everything else."""
        transport = self._transport
        if not self.begun and transport is not None and not transport.is_closing():
            transport.write(head)

    def reply(self, written: bytes) -> None:
        """A whole response, instead of any other."""
        self._put(written)

    @property
    def at_event_boundary(self) -> bool:
        """Whether this is a stream of events, and ends so far where one of them does."""
        return self._events and (not self._tail or self._tail.endswith(_BOUNDARIES))

    def break_off(self, event: bytes = b"") -> None:
        """Ends the connection so that the response cannot look complete, after one last event if there is one."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if event and self._chunked:
            transport.write(self._framed([event], last=False))
            transport.close()
            return
        if self._framing is CLOSE:
            reset(transport)
        else:
            transport.abort()

    def _framed(self, pieces: list[bytes], *, last: bool) -> bytes:
        if self._events and pieces:
            end = pieces[-1][-_LONGEST_BOUNDARY:]
            if len(end) < _LONGEST_BOUNDARY:
                end = (self._tail + b"".join(pieces))[-_LONGEST_BOUNDARY:]
            self._tail = end
        if not self._chunked:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if len(pieces) == 1 and not last:
            return b"%x\r\n%b\r\n" % (len(pieces[0]), pieces[0])
        framed = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
        if last:
            framed.append(b"0\r\n\r\n")
        return b"".join(framed)

    def _put(self, data: bytes) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if data:
            transport.write(data)
        return not self._client.writing_paused


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
        client.break_off(replies.error_event(route, str(error)) if client.at_event_boundary else b"")
        raise


async def pass_on(connection: Connection, client: ClientStream, upstream: Upstream) -> None:
    """What still comes from the replica, in the turn in which it comes. Raises UpstreamError and ClientGone."""

    def put(pieces: list[bytes]) -> bool:
        upstream.last_byte_at = connection.active_at
        return client.put(pieces, last=connection.complete)

    while not connection.complete:
        if not await connection.pour(put):
            await client.ready()
