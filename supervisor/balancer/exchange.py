"""One request, from its head to its last byte: the readable story.

health paths → access → a replica → send → (no answer: the next replica, if policy says so) → relay. Owns the order of
these steps and the one RequestFinished at their end; how each is done is its neighbours' business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import hdrs, web

from supervisor.balancer import refusals, replies, websocket
from supervisor.balancer.body import ArrivingBody, BadBody, RequestBody, WholeBody
from supervisor.balancer.dispatch import Dispatch
from supervisor.balancer.grammar import Head
from supervisor.balancer.headers import Credential, new_request_id, request_head
from supervisor.balancer.held import HeldBytes
from supervisor.balancer.message import Message
from supervisor.balancer.pool import Pool
from supervisor.balancer.reading import Reading
from supervisor.balancer.relay import ClientGone, ClientStream, relay_response
from supervisor.balancer.response_head import CONTINUE, Framing, ResponseHead, interim_head, response_head
from supervisor.balancer.upstream import Connection, ResponseTimeout
from supervisor.errors import NobodyReady, NotSent, UpstreamError
from supervisor.events import Events, RequestFinished
from supervisor.policy.access import AccessRules, Refusal
from supervisor.policy.retry import Next
from supervisor.policy.routes import Kind
from supervisor.rotation import Rotation, Upstream
from supervisor.status import Status

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Counters:
    """What the balancer counts itself; `failed` are those that a replica should have answered and did not."""

    in_flight: int = 0
    requests: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every exchange uses. Times are in seconds; `body_limit` is what is held of one body, in bytes."""

    rotation: Rotation
    pool: Pool
    rules: AccessRules
    events: Events
    health: Callable[[], Status]
    counters: Counters
    response_timeout: float
    queue_timeout: float
    body_timeout: float
    body_limit: int
    held: HeldBytes
    stopping: asyncio.Event


class Exchange:
    """One request. `run` once."""

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
        "_request",
        "_request_id",
        "_standing",
        "_started",
        "_status",
    )

    def __init__(
        self,
        request: web.BaseRequest,
        message: Message,
        head: Head,
        reading: Reading,
        around: Surroundings,
        *,
        standing: bool = False,
    ) -> None:
        """`head` is the message's. `standing`: its connection has no place, and gets one answer, which no replica is
        asked for.
        """
        self._request = request
        self._message = message
        self._head = head
        self._reading = reading
        self._around = around
        self._standing = standing
        self._request_id = reading.request_id or new_request_id()
        self._client = ClientStream(request, patience=around.response_timeout)
        self._status = 0
        self._outcome = "client_gone"
        self._dispatch: Dispatch | None = None  # from the moment when a replica is asked for
        self._by_us = False  # the answer is the balancer's own, and no replica's failure
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()

    async def run(self) -> web.StreamResponse:
        """Answers, and says so once. Cancelled when the client leaves."""
        counters = self._around.counters
        counters.in_flight += 1
        counters.requests += 1
        try:
            answer = self._answer_by_us()
            return answer if answer is not None else await self._through_replicas()
        except ClientGone:
            return replies.CLOSING
        except NobodyReady as nobody:
            return self._ours(
                replies.unavailable(str(nobody), self._request_id, retry_after=nobody.retry_after), "unavailable"
            )
        except BadBody as bad:
            response = self._refuse(bad.refusal)
            response.force_close()
            return response
        except asyncio.CancelledError:
            if self._around.stopping.is_set():
                self._outcome = "cut"
            raise
        except Exception:
            _log.exception("a request could not be handled")
            return await self._broken()
        finally:
            self._message.when_refused(None)
            dispatch = self._dispatch
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

    def _answer_by_us(self) -> web.StreamResponse | None:
        """The answer to what no replica is asked for."""
        reading = self._reading
        if reading.health_path is not None:
            document = replies.health(reading.health_path, self._around.health(), self._request_id)
            return self._ours(document, "answered")
        if self._standing:
            return self._refuse(refusals.CROWDED)
        return None if reading.refusal is None else self._refuse(reading.refusal)

    async def _through_replicas(self) -> web.StreamResponse:
        """Gives the request to one replica after the other, until one answers or policy says that it is enough."""
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
                    if self._client.begun:
                        if body.failure is not None:
                            raise ClientGone from None  # as good as: it breaks off its request while it is answered
                        dispatch.failed(error, upstream)
                        self._outcome = "cut"
                        return replies.CLOSING
                    if body.failure is not None:
                        raise body.failure from None
                    following = dispatch.after(error, upstream)
                    if following is not Next.ANOTHER:
                        return self._gave_no_answer(error, following)
                finally:
                    around.rotation.release(upstream)
        finally:
            body.forget()

    async def _through(self, dispatch: Dispatch, upstream: Upstream, body: RequestBody) -> web.StreamResponse:
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
                self._client.begin(head, framing, [], last=False)
                await websocket.tunnel(self._request, self._client, connection, upstream)
                self._outcome = "answered"
                connection.abort()
                return replies.CLOSING
            body.forget()
            await relay_response(
                connection, self._client, upstream, response, head, framing=framing, route=self._reading.route.name
            )
            self._outcome = "answered"
            if self._head.websocket or (pump is not None and not pump.done()):
                # The replica reads the next bytes as another protocol, or as the rest of this request.
                connection.reusable = False
            self._around.pool.give_back(upstream, connection)
            return replies.KEPT if keep_alive else replies.CLOSING
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
            head_only=self._reading.method == hdrs.METH_HEAD,
            websocket=self._head.websocket,
            on_interim=None if self._head.line.http_1_0 else self._pass_interim,
        )

    def _pass_interim(self, head: ResponseHead) -> None:
        self._client.interim(interim_head(head))

    def _body(self) -> RequestBody:
        message, around = self._message, self._around
        hold = around.body_limit if self._reading.route.kind is Kind.INFERENCE else 0
        if message.body is not None:
            return WholeBody(message.body, hold=hold, together=around.held)
        content = self._request.content
        message.when_refused(lambda refusal: content.set_exception(BadBody(refusal)))
        if self._head.expects_continue and not content.at_eof():
            self._client.interim(CONTINUE)
        return ArrivingBody(
            content,
            length=None if self._head.chunked else message.length,
            chunked=self._head.chunked,
            patience=around.body_timeout,
            hold=hold,
            together=around.held,
        )

    def _gave_no_answer(self, error: UpstreamError, following: Next) -> web.StreamResponse:
        if isinstance(error, ResponseTimeout):
            return self._ours(replies.timed_out(str(error), self._request_id), "unavailable")
        message = str(error)
        if following is Next.SUSPECT:
            message = "two replicas ended or hung while they worked on this request, so it is not tried again"
            if self._dispatch is not None:
                self._dispatch.accuse(self._reading.method, self._reading.path)
        repeatable = following is Next.CLIENT_MAY_REPEAT
        return self._ours(replies.failed(message, self._request_id, repeatable=repeatable), "unavailable")

    def _refuse(self, refusal: Refusal) -> web.StreamResponse:
        return self._ours(replies.refused(refusal, self._request_id), "refused")

    def _ours(self, response: web.Response, outcome: str) -> web.StreamResponse:
        self._status = response.status
        self._outcome = outcome
        self._by_us = outcome != "unavailable"
        unread = not self._request.content.is_eof()
        # A client that has been told not to send its body may or may not: where its next request begins is not known.
        if self._standing or self._around.stopping.is_set() or (unread and self._head.expects_continue):
            response.force_close()
        return response

    async def _broken(self) -> web.StreamResponse:
        if self._client.begun:
            self._outcome = "cut"
            await self._client.break_off()
            return replies.CLOSING
        return self._ours(replies.broken(self._request_id), "unavailable")
