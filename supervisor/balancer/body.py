"""A request's body on its way to a replica, and again to another one while all of it is held.

Owns what is held of it. Nothing is decoded, and no more is gathered than may be sent twice or is small.
"""

from __future__ import annotations

import asyncio

from supervisor.balancer import refusals
from supervisor.balancer.held import HeldBytes
from supervisor.balancer.message import SMALL_BODY, Message
from supervisor.balancer.upstream import Connection
from supervisor.policy.access import Refusal

LEAST_PROGRESS = 1024
"""Bytes of a body that have to come in each span of the patience with it: a byte now and then is not progress."""


class BadBody(Exception):
    """The client's body cannot be read: it is not what the headers announced, or does not come."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class WholeBody:
    """A body that is all here: it goes out with the request's head."""

    __slots__ = ("_counted", "_data", "_hold", "_together", "held")

    complete = True
    failure: BadBody | None = None

    def __init__(self, data: bytes, hold: int, together: HeldBytes) -> None:
        """`hold` is how many bytes are kept for sending them again, if there is room `together` with other bodies."""
        self._data = data
        self._hold = hold
        self._together = together
        self._counted = 0  # of what is kept, in `together`
        self.held = True

    @property
    def bytes_held(self) -> bytes:
        return self._data

    def opening(self) -> bytes:
        """What goes out in one write with the head."""
        return self._data

    def opening_sent(self) -> None:
        """A replica has got it: it is kept only for a request that may be sent twice."""
        size = len(self._data)
        if self.held and size != self._counted:
            if size <= self._hold and self._together.take(size):
                self._counted = size
            else:
                self.forget()

    def forget(self) -> None:
        """Keeps nothing any more: this body will not be sent again."""
        self.held = False
        self._data = b""
        if self._counted:
            self._together.give_back(self._counted)
            self._counted = 0


class ArrivingBody:
    """A body that the client may still be sending."""

    __slots__ = (
        "_came",
        "_chunked",
        "_counted",
        "_ended",
        "_hold",
        "_kept",
        "_length",
        "_message",
        "_patience",
        "_size",
        "_together",
        "_waited",
        "_wanted",
        "failure",
        "held",
    )

    def __init__(
        self,
        message: Message,
        *,
        chunked: bool,
        hold: int,
        together: HeldBytes,
        patience: float,
    ) -> None:
        """`chunked` is how its end is told.

        `hold` is how many bytes are kept for sending them again, as far as there is room `together` with other bodies.
        `patience` is how many seconds of waiting for the client must bring LEAST_PROGRESS; the time in which the
        replica takes nothing does not count.
        """
        self._message = message
        self._length = None if chunked else message.length
        self._wanted: asyncio.Future[None] | None = None  # somebody waits for more of it
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
                piece = await self._more(loop)
        except TimeoutError:
            raise BadBody(refusals.SLOW_BODY) from None
        self._came += len(piece)
        if self._came >= LEAST_PROGRESS:
            self._waited, self._came = 0.0, 0
        else:
            self._waited += loop.time() - began
        return piece

    async def _more(self, loop: asyncio.AbstractEventLoop) -> bytes:
        message = self._message
        while not message.unread and not message.complete and message.refusal is None:
            self._wanted = loop.create_future()
            message.when_more(self._wake)
            try:
                await self._wanted
            finally:
                message.when_more(None)
                self._wanted = None
        return self._read_nowait()

    def _wake(self) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    def _read_nowait(self) -> bytes:
        refusal = self._message.refusal
        if refusal is not None:
            raise BadBody(refusal)
        return self._message.read()

    def _take(self, piece: bytes) -> None:
        if piece:
            self._size += len(piece)
            if self.held:
                self._kept.append(piece)
        self._ended = self._message.complete and not self._message.unread

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


RequestBody = WholeBody | ArrivingBody
