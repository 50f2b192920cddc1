"""One request, from its head to its last byte: the readable story.

health paths → access → a replica → send → (no answer: the next replica, if policy says so) → relay. Owns the order of
these steps and the one RequestFinished at their end; how each is done is its neighbours' business.
"""

from __future__ import annotations

import asyncio
import logging

from supervisor.balancer import refusals, replies, websocket
from supervisor.balancer.body import ArrivingBody, BadBody, RequestBody, WholeBody
from supervisor.balancer.dispatch import Dispatch
from supervisor.balancer.grammar import Head
from supervisor.balancer.headers import Credential, new_request_id, request_head
from supervisor.balancer.message import Message
from supervisor.balancer.reading import Reading
from supervisor.balancer.relay import Client, ClientGone, ClientStream, relay_response
from supervisor.balancer.replies import Reply
from supervisor.balancer.response_head import CONTINUE, Framing, ResponseHead, interim_head, response_head
from supervisor.balancer.surroundings import Surroundings
from supervisor.balancer.upstream import Connection, ResponseTimeout
from supervisor.errors import NobodyReady, NotSent, UpstreamError
from supervisor.events import RequestFinished
from supervisor.policy.retry import Next
from supervisor.policy.routes import Kind
from supervisor.rotation import Upstream

_log = logging.getLogger(__name__)


class Exchange:
    """One request. `begin` once; when it is over, its client is told: `finished`."""

    __slots__ = (
        "_around",
        "_by_us",
        "_client",
        "_dispatch",
        "_head",
        "_loop",
        "_message",
        "_outcome",
        "_reading",
        "_request_id",
        "_standing",
        "_started",
        "_status",
        "_stream",
        "_task",
    )

    def __init__(
        self,
        message: Message,
        head: Head,
        reading: Reading,
        around: Surroundings,
        client: Client,
        loop: asyncio.AbstractEventLoop,
        *,
        standing: bool = False,
    ) -> None:
        """`head` is the message's. `standing`: its connection has no place, and gets one answer, which no replica is
        asked for.
        """
        self._message = message
        self._head = head
        self._reading = reading
        self._around = around
        self._client = client
        self._standing = standing
        self._request_id = reading.request_id or new_request_id()
        self._stream = ClientStream(client, patience=around.response_timeout)
        self._status = 0
        self._outcome = "client_gone"
        self._dispatch: Dispatch | None = None  # from the moment when a replica is asked for
        self._by_us = False  # the answer is the balancer's own, and no replica's failure
        self._task: asyncio.Task[None] | None = None
        self._loop = loop
        self._started = loop.time()

    def begin(self) -> None:
        """Answers at once what no replica is asked for; the rest of the story is a task's."""
        counters = self._around.counters
        counters.in_flight += 1
        counters.requests += 1
        try:
            reply = self._reply_by_us()
        except Exception:
            self._finish(keep_alive=self._broken())
            return
        if reply is None:
            self._task = self._loop.create_task(self._run())
        else:
            self._finish(keep_alive=self._answer(*reply))

    def cancel(self) -> None:
        """The client has left, or the balancer stops. The connection is told when all is over."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        """Answers, and says so once. Cancelled when the client leaves."""
        keep_alive = False
        try:
            keep_alive = await self._through_replicas()
        except ClientGone:
            pass
        except NobodyReady as nobody:
            reply = replies.unavailable(str(nobody), self._request_id, retry_after=nobody.retry_after)
            keep_alive = self._answer(reply, "unavailable")
        except BadBody as bad:
            keep_alive = self._answer(replies.refused(bad.refusal, self._request_id), "refused", last=True)
        except asyncio.CancelledError:
            if self._around.stopping.is_set():
                self._outcome = "cut"
                if self._stream.begun:
                    self._stream.break_off()
            raise
        except Exception:
            keep_alive = self._broken()
        finally:
            self._finish(keep_alive=keep_alive)

    def _finish(self, *, keep_alive: bool) -> None:
        counters, dispatch = self._around.counters, self._dispatch
        counters.in_flight -= 1
        counters.failed += self._outcome in {"cut", "unavailable"}
        self._around.events.publish(
            RequestFinished(
                method=self._reading.method,
                route=self._reading.route.name,
                status=self._status,
                outcome=self._outcome,
                slot=None if dispatch is None or self._by_us else dispatch.slot,
                attempts=0 if dispatch is None else dispatch.attempts,
                seconds=self._loop.time() - self._started,
                request_id=self._request_id,
                waited=0.0 if dispatch is None else dispatch.waited,
            )
        )
        self._client.finished(keep_alive=keep_alive)

    def _reply_by_us(self) -> tuple[Reply, str] | None:
        """The answer to what no replica is asked for, and what it counts as."""
        reading = self._reading
        if reading.health_path is not None:
            return replies.health(reading.health_path, self._around.health(), self._request_id), "answered"
        refusal = refusals.CROWDED if self._standing else reading.refusal
        return None if refusal is None else (replies.refused(refusal, self._request_id), "refused")

    async def _through_replicas(self) -> bool:
        """Gives the request to one replica after the other, until one answers or policy says that it is enough.

        Whether the client's connection can serve another request.
        """
        around = self._around
        body = self._body()
        if isinstance(body, ArrivingBody):
            await body.gather_if_small()
        dispatch = self._dispatch = Dispatch(
            around.rotation,
            around.events,
            body,
            self._reading.route,
            self._request_id,
            self._loop,
            deadline=self._started + around.queue_timeout,
            client_deadline=self._started + self._reading.client_timeout,
        )
        try:
            while True:
                upstream = dispatch.take() or await dispatch.wait()
                try:
                    return await self._through(dispatch, upstream, body)
                except UpstreamError as error:
                    if self._stream.begun:
                        if body.failure is not None:
                            raise ClientGone from None  # as good as: it breaks off its request while it is answered
                        dispatch.failed(error, upstream)
                        self._outcome = "cut"
                        return False
                    if body.failure is not None:
                        raise body.failure from None
                    following = dispatch.after(error, upstream)
                    if following is not Next.ANOTHER:
                        return self._gave_no_answer(error, following)
                finally:
                    around.rotation.release(upstream)
        finally:
            body.forget()

    async def _through(self, dispatch: Dispatch, upstream: Upstream, body: RequestBody) -> bool:
        """One attempt with one replica. Raises UpstreamError."""
        opening = self._request_head(upstream) + body.opening()
        connection = self._send_over_idle(upstream, opening) or await self._send_over_new(upstream, opening)
        pump: asyncio.Task[None] | None = None
        try:
            body.opening_sent()
            if isinstance(body, ArrivingBody) and not body.complete:
                # The replica may answer before it has read everything, so both directions run at once.
                pump = asyncio.create_task(body.pump(connection))
            response = await dispatch.head_from(connection, upstream)
            http_1_0 = self._head.line.http_1_0
            self._status = response.status
            switched = response.status == 101
            framing = response.framing(http_1_0=http_1_0)
            keep_alive = self._head.keep_alive and framing is not Framing.CLOSE and not self._around.stopping.is_set()
            head = response_head(
                response,
                framing=framing,
                slot=upstream.slot,
                request_id=self._request_id,
                keep_alive=keep_alive,
                http_1_0=http_1_0,
                upgrade=b"websocket" if switched else None,
            )
            if switched:
                self._stream.begin(head, framing, [], last=False)
                await websocket.tunnel(self._client, self._stream, connection, upstream)
                self._outcome = "answered"
                connection.abort()
                return False
            body.forget()
            await relay_response(
                connection, self._stream, upstream, response, head, framing=framing, route=self._reading.route.name
            )
            self._outcome = "answered"
            if self._head.websocket or (pump is not None and not pump.done()):
                # The replica reads the next bytes as another protocol, or as the rest of this request.
                connection.reusable = False
            self._around.pool.give_back(upstream, connection)
            return keep_alive
        except BaseException:
            connection.abort()
            raise
        finally:
            if pump is not None and not pump.done():
                pump.cancel()
                await asyncio.wait({pump})

    def _request_head(self, upstream: Upstream) -> bytes:
        """A key that the client brings is never replaced, also one in a place that was not known when it came."""
        head, credential = self._head, None
        if self._reading.keyless and upstream.key_header.lower().encode("ascii") not in head.fields:
            secret = upstream.credential.get_secret_value()
            credential = Credential(upstream.key_header.encode("ascii"), b"Bearer " + secret.encode("utf-8"))
        return request_head(
            self._reading.opening,
            length=self._message.length if head.announced else None,
            request_id=self._request_id if self._reading.request_id is None else None,
            credential=credential,
        )

    def _send_over_idle(self, upstream: Upstream, opening: bytes) -> Connection | None:
        """An idle connection that has ended says nothing about the replica, so the next one is tried."""
        while (connection := self._around.pool.reuse(upstream)) is not None:
            try:
                self._send(connection, opening)
            except NotSent:
                continue
            return connection
        return None

    async def _send_over_new(self, upstream: Upstream, opening: bytes) -> Connection:
        """Raises NotSent."""
        connection = await self._around.pool.connect(upstream)
        self._send(connection, opening)
        return connection

    def _send(self, connection: Connection, opening: bytes) -> None:
        connection.send(
            opening,
            timeout=self._around.response_timeout,
            head_only=self._reading.method == "HEAD",
            websocket=self._head.websocket,
            on_interim=None if self._head.line.http_1_0 else self._pass_interim,
        )

    def _pass_interim(self, head: ResponseHead) -> None:
        self._stream.interim(interim_head(head))

    def _body(self) -> RequestBody:
        message, around, chunked = self._message, self._around, self._head.chunked
        hold = around.body_limit if self._reading.route.kind is Kind.INFERENCE else 0
        if message.complete and not chunked:
            return WholeBody(message.read(), hold=hold, together=around.held)
        if self._head.expects_continue and not message.complete:
            self._stream.interim(CONTINUE)
        return ArrivingBody(message, chunked=chunked, patience=around.body_timeout, hold=hold, together=around.held)

    def _gave_no_answer(self, error: UpstreamError, following: Next) -> bool:
        if isinstance(error, ResponseTimeout):
            return self._answer(replies.timed_out(str(error), self._request_id), "unavailable")
        message = str(error)
        if following is Next.SUSPECT:
            message = "two replicas ended or hung while they worked on this request, so it is not tried again"
            if self._dispatch is not None:
                self._dispatch.accuse(self._reading.method, self._reading.path)
        repeatable = following is Next.CLIENT_MAY_REPEAT
        return self._answer(replies.failed(message, self._request_id, repeatable=repeatable), "unavailable")

    def _broken(self) -> bool:
        _log.exception("a request could not be handled")
        if self._stream.begun:
            self._outcome = "cut"
            self._stream.break_off()
            return False
        return self._answer(replies.broken(self._request_id), "unavailable")

    def _answer(self, reply: Reply, outcome: str, *, last: bool = False) -> bool:
        """Answers by ourselves. Whether the connection can serve another request; not where it is the `last`."""
        self._status = reply.status
        self._outcome = outcome
        self._by_us = outcome != "unavailable"
        head = self._head
        # A client that has been told not to send its body may or may not: where its next request begins is not known.
        undecided = head.expects_continue and not self._message.complete
        keep_alive = head.keep_alive and not (last or self._standing or undecided or self._around.stopping.is_set())
        self._stream.reply(
            reply.written(keep_alive=keep_alive, http_1_0=head.line.http_1_0, head_only=self._reading.method == "HEAD")
        )
        return keep_alive
