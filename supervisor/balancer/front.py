"""One client's connection: what it sends goes through the guard, and its requests are answered one after the other.

Owns the connection's time and order: how long a head or the next request may take, which request is at work and which
wait behind it, whether more is read, and a close that does not take the last answer with it. What is said to a request
is its exchange's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from supervisor.balancer import refusals, replies
from supervisor.balancer.alarm import Alarm
from supervisor.balancer.crowd import Crowd, Place
from supervisor.balancer.exchange import Exchange
from supervisor.balancer.grammar import Limits, Line
from supervisor.balancer.guard import Guard
from supervisor.balancer.headers import new_request_id
from supervisor.balancer.message import Message
from supervisor.balancer.reading import Readings
from supervisor.balancer.relay import end_now
from supervisor.balancer.replies import Reply
from supervisor.balancer.surroundings import Surroundings
from supervisor.events import RequestFinished

_log = logging.getLogger(__name__)

LINGERING = 5.0
"""Seconds for which what a client still sends is read and thrown away after its answer: closing at once would make the
kernel send a reset, which can overtake the answer."""

READ_AHEAD = 128 * 1024
"""Bytes of a body that may be here before somebody takes them; then no more is read."""

MOST_HELD = 64 * 1024
"""Bytes that may come behind a request for a WebSocket before it has been answered; then no more is read."""

AT_ONCE = 16
"""Requests of one connection that are begun in one turn of the loop."""


class State(enum.Enum):
    BETWEEN = "between"  # two requests, or before the first
    WORKING = "working"  # on a request
    REST = "rest"  # of a body whose request has been answered already: it is thrown away
    LEAVING = "leaving"  # everything has been said; what still comes is thrown away


# Until Python 3.12, looking up an enum's member in its class is a call, and this happens ten times for each request.
BETWEEN, WORKING, REST, LEAVING = State


@dataclass(slots=True, eq=False)
class House:
    """What all connections share; they go by it from one request to the next."""

    limits: Limits
    head_timeout: float
    keepalive_timeout: float
    crowd: Crowd[ClientConnection]
    around: Surroundings
    ended: asyncio.Event  # set when one has ended, for whoever clears it first
    unread: set[ClientConnection]  # nothing is read from these, so it must be asked whether their clients are there


class ClientConnection(asyncio.Protocol):
    """What its exchange needs of it is `relay.Client`."""

    __slots__ = (
        "_alarm",
        "_drained",
        "_exchange",
        "_guard",
        "_head_is_due",
        "_house",
        "_line",
        "_loop",
        "_message",
        "_reading_paused",
        "_readings",
        "_sink",
        "_starting",
        "_state",
        "standing",
        "transport",
        "writing_paused",
    )

    def __init__(self, house: House, loop: asyncio.AbstractEventLoop) -> None:
        self._house = house
        self._loop = loop
        self._guard = Guard(house.limits)
        self._alarm = Alarm(loop, self._time_is_up)
        self._state = BETWEEN
        self._line: deque[Message] = deque()  # those that have begun to come, and wait for their turn
        self._message: Message | None = None  # the one at work, or whose rest is thrown away
        self._exchange: Exchange | None = None
        self._starting = False
        self._head_is_due = False
        self._reading_paused = False
        self._drained: asyncio.Future[None] | None = None  # somebody waits until the client has taken what was written
        self._sink: Callable[[bytes], None] | None = None  # the protocol has been switched
        self._readings = Readings("")
        self.standing = False  # it has no place, and gets one answer, which no replica is asked for
        self.transport: asyncio.Transport | None = None
        self.writing_paused = False

    # For those who own all connections.

    def end_now(self) -> None:
        """An orderly end would wait for a client that may never read what it was sent."""
        if self.transport is not None:
            end_now(self.transport)

    def end(self) -> None:
        """Ends it in order, with no request at work. Does nothing where it ends already."""
        if self.transport is not None and self._state is not LEAVING:
            self._leave(linger=self._state is REST)

    def cut(self) -> None:
        """Ends what it works on."""
        if self._exchange is not None:
            self._exchange.cancel()

    # For its exchange.

    async def drained(self) -> None:
        if self.writing_paused:
            self._drained = self._loop.create_future()
            await self._drained

    def hand_over(self, sink: Callable[[bytes], None]) -> None:
        self._sink = sink
        self.resume_reading()
        held = self._guard.switched()
        if held:
            sink(held)

    def pause_reading(self) -> None:
        if not self._reading_paused and self.transport is not None and not self.transport.is_closing():
            self._reading_paused = True
            self._house.unread.add(self)
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._reading_paused and self.transport is not None and not self.transport.is_closing():
            self._reading_paused = False
            self._house.unread.discard(self)
            self.transport.resume_reading()

    def finished(self, *, keep_alive: bool) -> None:
        message = self._message
        assert message is not None
        assert message.head is not None
        self._exchange = None
        self._house.crowd.end(self)
        if self.transport is None:
            message.discard()
            self._house.ended.set()
            return
        if not keep_alive or self.transport.is_closing():
            self._leave(linger=not (message.complete and message.head.keep_alive) or bool(self._line))
        elif not message.complete:
            self._state = REST
            self._alarm.set(self._loop.time() + LINGERING)
            message.discard()
            self._look()
        elif message.head.websocket:
            self._look_at_rest()
            self._look()
        else:
            self._turn_to_next()

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        address = peer[0] if isinstance(peer, tuple) else ""
        self._readings = Readings(address)
        place, leaving = self._house.crowd.arrive(self, address)
        if leaving is not None:
            leaving.end_now()
        self.standing = place is Place.STANDING
        if place is Place.NONE:
            self.transport.abort()
        else:
            self._expect_next()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._house.crowd.leave(self)
        self._alarm.stop()
        self._line.clear()
        self._house.unread.discard(self)
        self.transport = self._sink = None  # whoever gets what comes holds this connection, too
        if self._exchange is not None:
            self._exchange.cancel()
        self._house.ended.set()

    def data_received(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink(data)
        elif self._state is not LEAVING:
            self._take(self._guard.feed(data))

    def eof_received(self) -> None:
        """A client that has closed its side is gone: nobody can tell whether it still reads."""
        if (self._state is WORKING or self._line) and self.transport is not None:
            self.transport.abort()

    def pause_writing(self) -> None:
        self.writing_paused = True
        if self._state is BETWEEN:
            self._expect_next()

    def resume_writing(self) -> None:
        self.writing_paused = False
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        if self._state is BETWEEN:
            self._expect_next()
            self._start_more()

    # Inside: one request after the other.

    def _take(self, begun: Sequence[Message]) -> None:
        if len(begun) == 1 and self._state is BETWEEN and not self._line and not self.writing_paused:
            self._begin(begun[0])
            if self._guard.between() and not self._line and not self._reading_paused and not self._head_is_due:
                return  # as nearly always: there is nothing to look at
        else:
            self._line += begun
            if self._state is BETWEEN:
                self._start()
            elif self._state is REST:
                self._look_at_rest()
        self._look()

    def _turn_to_next(self) -> None:
        self._state = BETWEEN
        self._message = None
        if not self._head_is_due:
            self._expect_next()
        if self._line or self._reading_paused:
            self._start()
            self._look()

    def _start(self) -> None:
        """Begins what is next. A loop and no recursion: an answer may be over within its `begin`."""
        if self._starting or not self._line:
            return
        self._starting = True
        try:
            for _ in range(AT_ONCE):
                if not self._line or self._state is not BETWEEN or self.writing_paused:
                    break
                self._begin(self._line.popleft())
            else:
                self._loop.call_soon(self._start_more)
        finally:
            self._starting = False

    def _start_more(self) -> None:
        if self._state is BETWEEN:
            self._start()
            self._look()

    def _begin(self, message: Message) -> None:
        head = message.head
        if head is None or message.refusal is not None:
            self._refuse(message)
            return
        house = self._house
        around = house.around
        try:
            reading = self._readings.of(head, around.rules, around.rotation.key_headers)
        except Exception:
            _log.exception("the head of a request could not be handled")
            request_id = new_request_id()
            self._end_with(message.line, replies.broken(request_id), "unavailable", request_id)
            return
        self._exchange = exchange = Exchange(message, head, reading, around, self, self._loop)
        self._state = WORKING
        self._message = message
        house.crowd.begin(self)
        exchange.begin()

    def _refuse(self, message: Message) -> None:
        """Answers what cannot be read, or is not to be: where the next request begins is not known."""
        assert message.refusal is not None
        request_id = new_request_id()
        self._end_with(message.line, replies.refused(message.refusal, request_id), "refused", request_id)

    def _end_with(self, line: Line | None, reply: Reply, outcome: str, request_id: str) -> None:
        """The answer to what cannot become an exchange, and the last one of this connection."""
        around = self._house.around
        around.counters.requests += 1
        around.counters.failed += outcome == "unavailable"
        around.events.publish(
            RequestFinished(
                method="UNKNOWN" if line is None else line.method.decode("ascii"),
                route="other",
                status=reply.status,
                outcome=outcome,
                slot=None,
                attempts=0,
                seconds=0.0,
                request_id=request_id,
            )
        )
        if self.transport is not None:
            self.transport.write(reply.written(keep_alive=False, head_only=line is not None and line.method == b"HEAD"))
            self._leave(linger=True)

    def _look_at_rest(self) -> None:
        """Of a body that nobody reads: when it has come, the next request can be told from it."""
        message = self._message
        assert message is not None
        if message.refusal is not None:
            self._leave(linger=True)
        elif message.complete:
            self._line += self._guard.declined()  # if it asked for a WebSocket
            self._turn_to_next()

    # Inside: what is waited for, and how it ends.

    def _expect_next(self) -> None:
        """The next request has to begin, and the client to take the last answer before that, within its time."""
        house = self._house
        if self.writing_paused:
            seconds = house.around.response_timeout
        else:
            seconds = house.head_timeout if self.standing else house.keepalive_timeout
        self._alarm.set(self._loop.time() + seconds)

    def _look(self) -> None:
        """Whether more may be read, and by when a head has to be there."""
        if self.transport is None:
            return
        guard = self._guard
        receiving = guard.receiving
        if self._line or guard.held > MOST_HELD:
            self.pause_reading()
        elif receiving is not None and receiving.unread > READ_AHEAD:
            receiving.when_read(self._look)
            self.pause_reading()
        else:
            self.resume_reading()
        if self._state is LEAVING:
            return
        was_due = self._head_is_due
        self._head_is_due = guard.within_head and not self._reading_paused
        if self._head_is_due and not was_due:
            self._alarm.set(self._loop.time() + self._house.head_timeout)
        elif was_due and not self._head_is_due:
            self._expect_next()

    def _time_is_up(self) -> None:
        """Of whatever was waited for last. While a request is at work that is nothing."""
        if self.transport is None:
            return
        if self._head_is_due:
            self._head_is_late()
        elif self._state is WORKING:
            return
        elif self._state is BETWEEN and not self.transport.get_write_buffer_size():
            self._leave()
        elif self._state is LEAVING and not self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._leave()  # it has had its time to finish sending; its answer has another
        else:
            end_now(self.transport)

    def _head_is_late(self) -> None:
        self._head_is_due = False
        self._expect_next()  # the refusal may have to wait for its turn, or for the client to take what is before it
        self._take(self._guard.refuse(refusals.SLOW_HEAD))

    def _leave(self, *, linger: bool = False) -> None:
        """Ends the connection behind what has been written. `linger` is for a client that may still be sending."""
        transport = self.transport
        assert transport is not None
        self._state = LEAVING
        self._line.clear()
        self._head_is_due = False
        if linger and not transport.is_closing():
            with contextlib.suppress(OSError, RuntimeError, NotImplementedError):
                transport.write_eof()
            self.resume_reading()
            self._alarm.set(self._loop.time() + LINGERING)
        else:
            transport.close()
            self._alarm.set(self._loop.time() + self._house.around.response_timeout)  # for one who takes nothing of it
