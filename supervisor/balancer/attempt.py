"""One attempt with one replica: the request goes there, and its answer goes to the client.

Owns how that is done: which connection it takes, what the replica gets of the head, and what the client gets of the
answer's. Whether there is an attempt, and what follows from one that fails, is the exchange's story.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from supervisor.balancer import websocket
from supervisor.balancer.body import ArrivingBody, RequestBody
from supervisor.balancer.dispatch import Dispatch
from supervisor.balancer.grammar import Head
from supervisor.balancer.headers import Credential, request_head
from supervisor.balancer.message import Message
from supervisor.balancer.reading import Reading
from supervisor.balancer.relay import Client, ClientStream, relay_response
from supervisor.balancer.response_head import CLOSE, Framing, ResponseHead, interim_head, response_head
from supervisor.balancer.surroundings import Surroundings
from supervisor.balancer.upstream import Connection, Told
from supervisor.errors import NotSent
from supervisor.rotation import Upstream


class Asked(Protocol):
    """A request, whose it is, and where its answer goes: an exchange, as far as an attempt needs it."""

    message: Message
    head: Head  # the message's
    reading: Reading
    request_id: str
    client: Client
    stream: ClientStream
    around: Surroundings


class Attempt:
    """Sent with `send`, or its `opening` with `send_over_idle`; then `pass_on`, or `pass_on_whole`.

    `status` is what the client gets.
    """

    __slots__ = ("_asked", "_body", "connection", "status", "upstream")

    def __init__(self, asked: Asked, body: RequestBody, upstream: Upstream) -> None:
        """`upstream` is leased, and given back by whoever leased it."""
        self._asked = asked
        self._body = body
        self.upstream = upstream
        self.connection: Connection | None = None
        self.status = 0

    def opening(self) -> bytes:
        """What goes out in the first write: the head, and what there is of the body. Raises BadBody.

        A key that the client brings is never replaced, also one in a place that was not known when it came.
        """
        asked, upstream, reading = self._asked, self.upstream, self._asked.reading
        credential = None
        if reading.keyless and upstream.key_header.lower().encode("ascii") not in asked.head.fields:
            secret = upstream.credential.get_secret_value()
            credential = Credential(upstream.key_header.encode("ascii"), b"Bearer " + secret.encode("utf-8"))
        head = request_head(
            reading.opening,
            length=asked.message.length if asked.head.announced else None,
            request_id=asked.request_id if reading.request_id is None else None,
            credential=credential,
        )
        return head + self._body.opening()

    def send_over_idle(self, opening: bytes, told: Told | None = None) -> Connection | None:
        """Over an idle connection, if there is one; one that has ended says nothing about the replica.

        `told` is called once, as soon as the replica has said something, or has gone.
        """
        reuse = self._asked.around.pool.reuse
        while (connection := reuse(self.upstream)) is not None:
            try:
                self._send(connection, opening, told)
            except NotSent:
                continue
            return connection
        return None

    async def send(self) -> Connection:
        """Over an idle connection or a new one. Raises NotSent and BadBody."""
        opening = self.opening()  # first, for it may turn out that the body cannot be read
        connection = self.send_over_idle(opening)
        if connection is None:
            connection = await self._asked.around.pool.connect(self.upstream)
            self._send(connection, opening, None)
        return connection

    def pass_on_whole(self, connection: Connection, response: ResponseHead) -> bool:
        """An answer that is all here. Whether the client's connection can serve another request."""
        asked = self._asked
        head, framing, keep_alive = self._head_of_answer(response)
        self.upstream.last_byte_at = connection.active_at
        self._body.forget()
        asked.stream.begin(head, framing, connection.arrived(), last=True)
        asked.around.pool.give_back(self.upstream, connection)
        return keep_alive

    async def pass_on(self, dispatch: Dispatch) -> bool:
        """The answer, from its first byte, which is waited for, to its last, as it comes; and the rest of the body.

        Whether the client's connection can serve another request. Raises UpstreamError and ClientGone.
        """
        connection, body, asked = self.connection, self._body, self._asked
        assert connection is not None
        pump: asyncio.Task[None] | None = None
        try:
            if isinstance(body, ArrivingBody) and not body.complete:
                # The replica may answer before it has read everything, so both directions run at once.
                pump = asyncio.create_task(body.pump(connection))
            response = await dispatch.head_from(connection, self.upstream)
            head, framing, keep_alive = self._head_of_answer(response)
            if response.status == 101:
                asked.stream.begin(head, framing, [], last=False)
                await websocket.tunnel(asked.client, asked.stream, connection, self.upstream)
                connection.abort()
                return False
            body.forget()
            route = asked.reading.route.name
            await relay_response(connection, asked.stream, self.upstream, response, head, framing=framing, route=route)
            if asked.head.websocket or (pump is not None and not pump.done()):
                # The replica reads the next bytes as another protocol, or as the rest of this request.
                connection.reusable = False
            asked.around.pool.give_back(self.upstream, connection)
            return keep_alive
        except BaseException:
            self.abort()
            raise
        finally:
            if pump is not None and not pump.done():
                pump.cancel()
                await asyncio.wait({pump})

    def abort(self) -> None:
        """The replica sees the end of the connection, however far this has come."""
        if self.connection is not None:
            self.connection.abort()

    def _send(self, connection: Connection, opening: bytes, told: Told | None) -> None:
        asked = self._asked
        connection.send(
            opening,
            timeout=asked.around.response_timeout,
            head_only=asked.reading.method == "HEAD",
            websocket=asked.head.websocket,
            on_interim=None if asked.head.line.http_1_0 else self._pass_interim,
            told=told,
        )
        self.connection = connection
        self._body.opening_sent()

    def _head_of_answer(self, response: ResponseHead) -> tuple[bytes, Framing, bool]:
        """What the client gets, how it is told the end of the body, and whether it may ask again."""
        asked = self._asked
        http_1_0 = asked.head.line.http_1_0
        self.status = response.status
        framing = response.framing(http_1_0=http_1_0)
        keep_alive = asked.head.keep_alive and framing is not CLOSE and not asked.around.stopping.is_set()
        head = response_head(
            response,
            framing=framing,
            slot=self.upstream.slot,
            request_id=asked.request_id,
            keep_alive=keep_alive,
            http_1_0=http_1_0,
            upgrade=b"websocket" if response.status == 101 else None,
        )
        return head, framing, keep_alive

    def _pass_interim(self, head: ResponseHead) -> None:
        self._asked.stream.interim(interim_head(head))
