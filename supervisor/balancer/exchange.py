"""One request, from its head to its last byte: the readable story.

health paths → access → a replica → send → (no answer: the next replica, if policy says so) → the answer. Owns the order
of these steps and the one RequestFinished at their end; how each is done is its neighbours' business.

Most requests have come whole, find a replica and a connection that are free, and get an answer that comes whole: they
go all the way without waiting for anything but that answer, and need no task. Whatever else has to be waited for, a
task waits for; it goes on from wherever the request has come by then.
"""

from __future__ import annotations

import asyncio
import logging

from supervisor.balancer import refusals, replies
from supervisor.balancer.attempt import Attempt
from supervisor.balancer.body import ArrivingBody, BadBody, RequestBody, WholeBody
from supervisor.balancer.dispatch import Dispatch
from supervisor.balancer.grammar import Head
from supervisor.balancer.headers import new_request_id
from supervisor.balancer.message import Message
from supervisor.balancer.reading import Reading
from supervisor.balancer.relay import Client, ClientGone, ClientStream
from supervisor.balancer.replies import Reply
from supervisor.balancer.response_head import CONTINUE
from supervisor.balancer.surroundings import Surroundings
from supervisor.balancer.upstream import ResponseTimeout
from supervisor.errors import NobodyReady, UpstreamError
from supervisor.events import RequestFinished
from supervisor.policy.retry import Next
from supervisor.policy.routes import Kind

_log = logging.getLogger(__name__)
_INFERENCE = Kind.INFERENCE  # until Python 3.12, looking up an enum's member in its class is a call


class Exchange:
    """One request. `begin` once; when it is over, its client is told: `finished`."""

    __slots__ = (
        "_attempt",
        "_body",
        "_by_us",
        "_dispatch",
        "_loop",
        "_outcome",
        "_started",
        "_status",
        "_task",
        "around",
        "client",
        "head",
        "message",
        "reading",
        "request_id",
        "stream",
    )

    def __init__(
        self,
        message: Message,
        head: Head,
        reading: Reading,
        around: Surroundings,
        client: Client,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`head` is the message's."""
        self.message = message
        self.head = head
        self.reading = reading
        self.request_id = reading.request_id or new_request_id()
        self.client = client
        self.stream = ClientStream(client, around.response_timeout)
        self.around = around
        self._status = 0
        self._outcome = "client_gone"
        self._by_us = False  # the answer is the balancer's own, and no replica's failure
        self._body: RequestBody | None = None
        self._dispatch: Dispatch | None = None  # from the moment when a replica is asked for
        self._attempt: Attempt | None = None  # under way; its replica has to be given back
        self._task: asyncio.Task[bool] | None = None
        self._loop = loop
        self._started = loop.time()

    def begin(self) -> None:
        """Goes as far as it can without waiting."""
        counters = self.around.counters
        counters.in_flight += 1
        counters.requests += 1
        try:
            reply = self._reply_by_us()
            if reply is not None:
                keep_alive = self._answer(*reply)
            elif self._ask_at_once():
                return
            else:
                self._wait()
                return
        except Exception:
            self._drop()
            keep_alive = self._broken()
        self._finish(keep_alive=keep_alive)

    def cancel(self) -> None:
        """The client has left, or the balancer stops. The connection is told when all is over."""
        if self._task is not None:
            self._task.cancel()
        else:
            self._break_off()
            self._finish(keep_alive=False)

    # Without waiting.

    def _reply_by_us(self) -> tuple[Reply, str] | None:
        """The answer to what no replica is asked for, and what it counts as."""
        reading = self.reading
        if reading.health_path is not None:
            return replies.health(reading.health_path, self.around.health(), self.request_id), "answered"
        refusal = refusals.CROWDED if self.client.standing else reading.refusal
        return None if refusal is None else (replies.refused(refusal, self.request_id), "refused")

    def _ask_at_once(self) -> bool:
        """Whether the request is on its way."""
        message, head = self.message, self.head
        if not message.complete or head.chunked or head.websocket:
            return False
        dispatch = self._prepare()
        upstream = dispatch.take()
        if upstream is None:
            return False
        assert self._body is not None
        attempt = self._attempt = Attempt(self, self._body, upstream)
        connection = attempt.send_over_idle(attempt.opening(), self._told)
        if connection is None:
            return False
        dispatch.waits_on(connection, upstream)
        return True

    def _told(self) -> None:
        """The replica has said something, or has gone."""
        attempt, dispatch = self._attempt, self._dispatch
        assert attempt is not None
        assert dispatch is not None
        connection = attempt.connection
        assert connection is not None
        dispatch.waits_no_more(attempt.upstream)
        response = connection.whole()
        if response is None:
            self._wait()
            return
        try:
            keep_alive = attempt.pass_on_whole(connection, response)
            self._status = attempt.status
            self._outcome = "answered"
            self._release()
        except Exception:
            self._drop()
            keep_alive = self._broken()
        self._finish(keep_alive=keep_alive)

    # With a task.

    def _wait(self) -> None:
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[bool]) -> None:
        """Also where the task has not even begun."""
        self._task = None  # what ended it would hold all that it did, and be held by it
        if task.cancelled():
            self._break_off()
        self._finish(keep_alive=not task.cancelled() and task.result())

    async def _run(self) -> bool:
        """Whether the client's connection can serve another request. Cancelled when the client leaves."""
        try:
            return await self._through_replicas()
        except ClientGone:
            return False
        except NobodyReady as nobody:
            reply = replies.unavailable(str(nobody), self.request_id, retry_after=nobody.retry_after)
            return self._answer(reply, "unavailable")
        except BadBody as bad:
            return self._answer(replies.refused(bad.refusal, self.request_id), "refused", last=True)
        except Exception:
            return self._broken()

    async def _through_replicas(self) -> bool:
        """Gives the request to one replica after the other, until one answers or policy says that it is enough."""
        dispatch = self._dispatch or self._prepare()
        body = self._body
        assert body is not None
        try:
            if isinstance(body, ArrivingBody):
                await body.gather_if_small()
            while True:
                attempt = self._attempt
                if attempt is None:
                    attempt = self._attempt = Attempt(self, body, dispatch.take() or await dispatch.wait())
                try:
                    if attempt.connection is None:
                        await attempt.send()
                    keep_alive = await attempt.pass_on(dispatch)
                    self._status = attempt.status
                    self._outcome = "answered"
                    return keep_alive
                except UpstreamError as error:
                    if self.stream.begun:
                        if body.failure is not None:
                            raise ClientGone from None  # as good as: it breaks off its request while it is answered
                        dispatch.failed(error, attempt.upstream)
                        self._outcome = "cut"
                        return False
                    if body.failure is not None:
                        raise body.failure from None
                    following = dispatch.after(error, attempt.upstream)
                    if following is not Next.ANOTHER:
                        return self._gave_no_answer(error, following)
                finally:
                    if self.stream.begun:
                        self._status = attempt.status
                    self._release()
        finally:
            body.forget()

    # Both.

    def _prepare(self) -> Dispatch:
        """A replica is going to be asked for."""
        around = self.around
        body = self._body = self._body_of()
        dispatch = self._dispatch = Dispatch(
            around.rotation,
            around.events,
            body,
            self.reading.route,
            self.request_id,
            self._loop,
            self._started + around.queue_timeout,
            self._started + self.reading.client_timeout,
        )
        return dispatch

    def _body_of(self) -> RequestBody:
        message, around, chunked = self.message, self.around, self.head.chunked
        hold = around.body_limit if self.reading.route.kind is _INFERENCE else 0
        if message.complete and not chunked:
            return WholeBody(message.read(), hold, around.held)
        if self.head.expects_continue and not message.complete:
            self.stream.interim(CONTINUE)
        return ArrivingBody(message, chunked=chunked, patience=around.body_timeout, hold=hold, together=around.held)

    def _release(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            self.around.rotation.release(attempt.upstream)

    def _drop(self) -> None:
        """What is under way ends, wherever it is."""
        attempt, dispatch = self._attempt, self._dispatch
        if attempt is not None and dispatch is not None:
            dispatch.waits_no_more(attempt.upstream)
            attempt.abort()
            self._release()
        if self._body is not None:
            self._body.forget()

    def _break_off(self) -> None:
        """Nobody waits for the answer any more, or it has taken too long for a balancer that stops."""
        self._drop()
        if self.around.stopping.is_set():
            self._outcome = "cut"
            if self.stream.begun:
                self.stream.break_off()

    def _finish(self, *, keep_alive: bool) -> None:
        dispatch = self._dispatch
        counters = self.around.counters
        counters.in_flight -= 1
        counters.failed += self._outcome in {"cut", "unavailable"}
        self.around.events.publish(
            RequestFinished(  # in their order: names are dear in Python where an object is made
                self.reading.method,
                self.reading.route.name,
                self._status,
                self._outcome,
                None if dispatch is None or self._by_us else dispatch.slot,
                0 if dispatch is None else dispatch.attempts,
                self._loop.time() - self._started,
                self.request_id,
                0.0 if dispatch is None else dispatch.waited,
            )
        )
        self.client.finished(keep_alive=keep_alive)

    def _gave_no_answer(self, error: UpstreamError, following: Next) -> bool:
        if isinstance(error, ResponseTimeout):
            return self._answer(replies.timed_out(str(error), self.request_id), "unavailable")
        message = str(error)
        if following is Next.SUSPECT:
            message = "two replicas ended or hung while they worked on this request, so it is not tried again"
            if self._dispatch is not None:
                self._dispatch.accuse(self.reading.method, self.reading.path)
        repeatable = following is Next.CLIENT_MAY_REPEAT
        return self._answer(replies.failed(message, self.request_id, repeatable=repeatable), "unavailable")

    def _broken(self) -> bool:
        _log.exception("a request could not be handled")
        if self.stream.begun:
            self._outcome = "cut"
            self.stream.break_off()
            return False
        return self._answer(replies.broken(self.request_id), "unavailable")

    def _answer(self, reply: Reply, outcome: str, *, last: bool = False) -> bool:
        """Answers by ourselves. Whether the connection can serve another request; not where it is the `last`."""
        self._status = reply.status
        self._outcome = outcome
        self._by_us = outcome != "unavailable"
        head = self.head
        # A client that has been told not to send its body may or may not: where its next request begins is not known.
        undecided = head.expects_continue and not self.message.complete
        keep_alive = head.keep_alive and not (
            last or self.client.standing or undecided or self.around.stopping.is_set()
        )
        head_only = self.reading.method == "HEAD"
        self.stream.reply(reply.written(keep_alive=keep_alive, http_1_0=head.line.http_1_0, head_only=head_only))
        return keep_alive
