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
from supervisor.balancer.dispatch import Dispatch
from supervisor.balancer.grammar import Head
from supervisor.balancer.headers import Credential, request_head, request_id_of
from supervisor.balancer.held import HeldBytes
from supervisor.balancer.pool import Pool
from supervisor.balancer.relay import BadBody, ClientGone, ClientStream, RequestBody, relay_response
from supervisor.balancer.response_head import CONTINUE, Framing, ResponseHead, interim_head, response_head
from supervisor.balancer.upstream import Connection, ResponseTimeout
from supervisor.errors import NobodyReady, NotSent, UpstreamError
from supervisor.events import Events, RequestFinished
from supervisor.policy import access, retry
from supervisor.policy.access import AccessRules, Asked, Verdict
from supervisor.policy.retry import Next
from supervisor.policy.routes import POOL_HEALTH_PATH, Kind, Route, classify
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


class Answered(web.StreamResponse):
    """Tells aiohttp that the response has been written already, and whether the connection can serve another.

    There is one of each for all requests, so nobody may change them.
    """

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


_KEPT = Answered(keep_alive=True)
_CLOSING = Answered(keep_alive=False)


class Exchange:
    """One request. `run` once."""

    def __init__(
        self, request: web.BaseRequest, head: Head, surroundings: Surroundings, *, standing: bool = False
    ) -> None:
        """`standing`: its connection has no place of its own, and gets one answer, which no replica is asked for."""
        self._standing = standing
        self._request = request
        self._head = head
        self._around = surroundings
        self._path, _, self._query = request.raw_path.partition("?")
        self._websocket = head.websocket
        self._route: Route = classify(request.method, self._path, websocket=self._websocket)
        self._request_id = request_id_of(request.headers.get("X-Request-ID"))
        self._http_1_0 = head.line.http_1_0
        self._client = ClientStream(request, patience=surroundings.response_timeout)
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
            return await self._answer()
        except ClientGone:
            return _CLOSING
        except asyncio.CancelledError:
            if self._around.stopping.is_set():
                self._outcome = "cut"
            raise
        except Exception:
            _log.exception("a request could not be handled")
            return await self._broken()
        finally:
            dispatch = self._dispatch
            counters.in_flight -= 1
            counters.failed += self._outcome in {"cut", "unavailable"}
            self._around.events.publish(
                RequestFinished(
                    method=self._request.method,
                    route=self._route.name,
                    status=self._status,
                    outcome=self._outcome,
                    slot=None if dispatch is None or self._by_us else dispatch.slot,
                    attempts=0 if dispatch is None else dispatch.attempts,
                    seconds=self._loop.time() - self._started,
                    request_id=self._request_id,
                    waited=0.0 if dispatch is None else dispatch.waited,
                )
            )

    async def _answer(self) -> web.StreamResponse:
        asked = Asked(
            peer=self._request.remote or "",
            method=self._request.method,
            route=self._route,
            query=self._query,
            headers=self._request.headers,
            key_headers=self._around.rotation.key_headers,
        )
        kind = self._route.kind
        if kind is Kind.HEALTH or (kind is Kind.POOL_HEALTH and not access.has_credential(asked)):
            path = POOL_HEALTH_PATH if kind is Kind.POOL_HEALTH else self._path
            return self._ours(replies.health(path, self._around.health(), self._request_id), "answered")
        if self._standing:
            return self._refuse(refusals.CROWDED)
        decision = access.decide(asked, self._around.rules)
        if decision.refusal is not None:
            return self._refuse(decision.refusal)
        try:
            return await self._through_replicas(decision)
        except NobodyReady as nobody:
            return self._ours(
                replies.unavailable(str(nobody), self._request_id, retry_after=nobody.retry_after), "unavailable"
            )
        except BadBody as bad:
            response = self._refuse(bad.refusal)
            response.force_close()
            return response

    async def _through_replicas(self, decision: access.Decision) -> web.StreamResponse:
        """Gives the request to one replica after the other, until one answers or policy says that it is enough."""
        around = self._around
        body = await self._read_body()
        timeout = retry.client_timeout(map(self._request.headers.get, retry.TIMEOUT_HEADERS))
        dispatch = self._dispatch = Dispatch(
            around.rotation,
            around.events,
            body,
            self._route,
            self._request_id,
            deadline=self._started + around.queue_timeout,
            client_deadline=self._started + timeout,
        )
        try:
            while True:
                upstream = await dispatch.lease()
                try:
                    return await self._through(dispatch, upstream, body, decision)
                except UpstreamError as error:
                    if self._client.begun:
                        if body.failure is not None:
                            raise ClientGone from None  # as good as: it breaks off its request while it is answered
                        dispatch.failed(error, upstream)
                        self._outcome = "cut"
                        return _CLOSING
                    if body.failure is not None:
                        raise body.failure from None
                    following = dispatch.after(error, upstream)
                    if following is not Next.ANOTHER:
                        return self._gave_no_answer(error, following)
                finally:
                    around.rotation.release(upstream)
        finally:
            body.forget()

    async def _through(
        self, dispatch: Dispatch, upstream: Upstream, body: RequestBody, decision: access.Decision
    ) -> web.StreamResponse:
        """One attempt with one replica. Raises UpstreamError."""
        request = self._request
        connection = await self._send(upstream, body, decision)
        pump: asyncio.Task[None] | None = None
        try:
            body.opening_sent()
            if not body.complete:
                # The replica may answer before it has read everything, so both directions run at once.
                pump = asyncio.create_task(body.pump(connection))
            response = await dispatch.head_from(connection, upstream)
            self._status = response.status
            switched = response.status == 101
            framing = response.framing(http_1_0=self._http_1_0)
            keep_alive = self._head.keep_alive and framing is not Framing.CLOSE and not self._around.stopping.is_set()
            head = response_head(
                response,
                framing=framing,
                slot=upstream.slot,
                request_id=self._request_id,
                keep_alive=keep_alive,
                http_1_0=self._http_1_0,
                upgrade=b"websocket" if switched else None,
            )
            if switched:
                self._client.begin(head, framing, [], last=False)
                await websocket.tunnel(request, self._client, connection, upstream)
                self._outcome = "answered"
                connection.abort()
                return _CLOSING
            body.forget()
            await relay_response(
                connection, self._client, upstream, response, head, framing=framing, route=self._route.name
            )
            self._outcome = "answered"
            if self._websocket or (pump is not None and not pump.done()):
                # The replica reads the next bytes as another protocol, or as the rest of this request.
                connection.reusable = False
            self._around.pool.give_back(upstream, connection)
            return _KEPT if keep_alive else _CLOSING
        except BaseException:
            connection.abort()
            raise
        finally:
            if pump is not None and not pump.done():
                pump.cancel()
                await asyncio.wait({pump})

    async def _send(self, upstream: Upstream, body: RequestBody, decision: access.Decision) -> Connection:
        """Sends the request's opening over an idle connection, or over a new one. Raises NotSent for the new one only.

        An idle connection that has ended says nothing about the replica, so it does not count against it.
        """
        request = self._request
        head = request_head(
            request.method,
            request.raw_path,
            request.raw_headers,
            client=decision.client,
            request_id=self._request_id,
            chunked=self._head.chunked,
            credential=_credential(upstream) if decision.verdict is Verdict.KEYLESS else None,
            proxied=decision.proxied,
            upgrade=b"websocket" if self._websocket else None,
        )
        opening = head + body.opening()
        pool = self._around.pool
        head_only = request.method == hdrs.METH_HEAD
        while True:
            idle = pool.reuse(upstream)
            connection = idle if idle is not None else await pool.connect(upstream)
            try:
                connection.send(
                    opening,
                    timeout=self._around.response_timeout,
                    head_only=head_only,
                    websocket=self._websocket,
                    on_interim=None if self._http_1_0 else self._pass_interim,
                )
            except NotSent:
                if idle is None:
                    raise
            else:
                return connection

    def _pass_interim(self, head: ResponseHead) -> None:
        self._client.interim(interim_head(head))

    async def _read_body(self) -> RequestBody:
        request = self._request
        if self._head.expects_continue and not request.content.at_eof():
            self._client.interim(CONTINUE)
        body = RequestBody(
            request.content,
            length=None if self._head.chunked else self._head.length,
            chunked=self._head.chunked,
            patience=self._around.body_timeout,
            hold=self._around.body_limit if self._route.kind is Kind.INFERENCE else 0,
            together=self._around.held,
        )
        await body.gather_if_small()
        return body

    def _gave_no_answer(self, error: UpstreamError, following: Next) -> web.StreamResponse:
        if isinstance(error, ResponseTimeout):
            return self._ours(replies.timed_out(str(error), self._request_id), "unavailable")
        message = str(error)
        if following is Next.SUSPECT:
            message = "two replicas ended or hung while they worked on this request, so it is not tried again"
            if self._dispatch is not None:
                self._dispatch.accuse(self._request.method, self._path)
        repeatable = following is Next.CLIENT_MAY_REPEAT
        return self._ours(replies.failed(message, self._request_id, repeatable=repeatable), "unavailable")

    def _refuse(self, refusal: access.Refusal) -> web.StreamResponse:
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
            return _CLOSING
        return self._ours(replies.broken(self._request_id), "unavailable")


def _credential(upstream: Upstream) -> Credential:
    name = upstream.key_header.encode("ascii")
    return Credential(name, b"Bearer " + upstream.credential.get_secret_value().encode("utf-8"))
