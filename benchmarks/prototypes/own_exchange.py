"""One request through a front of our own: the product's steps, most of them in one call.

health → access → a replica → send → relay. A request that has come whole, for which a replica and an idle connection to
it are there, is sent in the very call in which its last byte came, and its answer is written in the call in which it
comes: no task, no future, no turn of the loop between. Whatever has to be waited for before sending (a body, a place, a
connection) is waited for by a task, which then goes on in the same way.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from benchmarks.prototypes.own_incoming import Incoming
from benchmarks.prototypes.own_replica import Line, Lines
from supervisor.balancer import refusals, replies
from supervisor.balancer.body import BadBody
from supervisor.balancer.exchange import Counters
from supervisor.balancer.grammar import Head
from supervisor.balancer.headers import Credential, new_request_id, request_head
from supervisor.balancer.held import HeldBytes
from supervisor.balancer.message import SMALL_BODY
from supervisor.balancer.reading import Readings
from supervisor.balancer.response_head import Framing, response_head
from supervisor.errors import NobodyReady, UpstreamError
from supervisor.events import Events, RequestFinished
from supervisor.policy.access import AccessRules, Refusal
from supervisor.policy.routes import Kind
from supervisor.rotation import Rotation, Upstream
from supervisor.status import Status


@dataclass(frozen=True, slots=True)
class Around:
    """What every exchange uses. `tasks`: each request gets one, as in the product, to see what that costs."""

    rotation: Rotation
    lines: Lines
    rules: AccessRules
    events: Events
    health: Callable[[], Status]
    counters: Counters
    held: HeldBytes
    response_timeout: float
    queue_timeout: float
    body_timeout: float
    tasks: bool = False


class Client(Protocol):
    """What an exchange needs of its client's connection."""

    readings: Readings

    @property
    def slow(self) -> bool:
        """Whether what was written has not gone yet; `Exchange.go_on` is called when it has."""
        ...

    def write(self, data: bytes) -> None: ...

    def finished(self, *, keep_alive: bool) -> None: ...


class Exchange:
    """One request. `begin` once; then either `finished` is called on the client, or `client_gone` here."""

    def __init__(self, incoming: Incoming, head: Head, client: Client, around: Around) -> None:
        self._incoming = incoming
        self._head = head
        self._client = client
        self._around = around
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._reading = reading = client.readings.of(head, around.rules, around.rotation.key_headers)
        self._method, self._route = reading.method, reading.route
        self._request_id = reading.request_id or new_request_id()
        self._task: asyncio.Task[None] | None = None
        self._upstream: Upstream | None = None
        self._line: Line | None = None
        self._framing = Framing.NONE
        self._keep_alive = head.keep_alive
        self._begun = self._over = False
        self._counted = self._status = self._attempts = 0
        self._waited = 0.0
        self._outcome = "client_gone"

    def begin(self) -> None:
        around, incoming = self._around, self._incoming
        around.counters.in_flight += 1
        around.counters.requests += 1
        reading = self._reading
        if reading.health_path is not None:
            self._reply(replies.health(reading.health_path, around.health(), self._request_id), "answered")
            return
        if reading.refusal is not None:
            self._refuse(reading.refusal)
            return
        deadline = min(around.queue_timeout, reading.client_timeout)
        if incoming.complete and not around.tasks:
            upstream = around.rotation.take()
            if upstream is not None:
                self._upstream = upstream
                line = around.lines.reuse(upstream)
                if line is not None:
                    try:
                        self._send(line, upstream)
                        return
                    except UpstreamError:  # it had ended, which says nothing about the replica
                        pass
        self._task = self._loop.create_task(self._prepare(deadline))

    def client_gone(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._finish()

    def go_on(self) -> None:
        """The client can take more, or the replica has sent more."""
        line, upstream = self._line, self._upstream
        if self._over or line is None or upstream is None or (self._begun and self._client.slow):
            return
        answer = line.answer
        if answer is None:
            if line.failure is not None:
                self._failed(line.failure)
            return
        pieces = line.arrived()
        last = line.complete
        if pieces or last or not self._begun:
            upstream.last_byte_at = self._loop.time()
        if not self._begun:
            self._begun = True
            upstream.unanswered.discard(self)
            http_1_0 = self._head.line.http_1_0
            framing = self._framing = answer.framing(http_1_0=http_1_0)
            self._status = answer.status
            self._keep_alive = self._keep_alive and framing is not Framing.CLOSE and self._incoming.complete
            head = response_head(
                answer,
                framing=framing,
                slot=upstream.slot,
                request_id=self._request_id,
                keep_alive=self._keep_alive,
                http_1_0=http_1_0,
            )
            self._client.write(head + self._framed(pieces, last=last))
        elif pieces or last:
            self._client.write(self._framed(pieces, last=last))
        if last:
            self._outcome = "answered"
            self._finish(keep_alive=self._keep_alive)
        elif line.failure is not None:
            self._failed(line.failure)

    def give_up(self) -> None:
        """The replica hangs. Called by the rotation."""
        if self._line is not None:
            self._line.give_up()

    # Inside.

    async def _prepare(self, deadline: float) -> None:
        """Waits for what is missing until the request can be sent, and for the rest of a long body after that."""
        around, incoming, head = self._around, self._incoming, self._head
        try:
            if not head.chunked and incoming.length <= SMALL_BODY:
                await self._body_grows(until_whole=True)
            upstream = self._upstream = self._upstream or around.rotation.take()
            if upstream is None:
                since = self._loop.time()
                upstream = self._upstream = await around.rotation.wait(timeout=deadline)
                self._waited = self._loop.time() - since
            line = around.lines.reuse(upstream) or await around.lines.connect(upstream)
            self._send(line, upstream)
            while not incoming.complete:
                await self._body_grows()
                await line.write(self._body())
            if around.tasks:
                await self._called_back(line)
                self.go_on()
        except NobodyReady as nobody:
            retry_after = nobody.retry_after
            self._reply(replies.unavailable(str(nobody), self._request_id, retry_after=retry_after), "unavailable")
        except UpstreamError as error:
            self._failed(error)
        except BadBody as bad:
            self._refuse(bad.refusal)

    async def _body_grows(self, *, until_whole: bool = False) -> None:
        """Returns when more of it has come, or all. Raises BadBody."""
        incoming = self._incoming
        while not incoming.complete and incoming.refusal is None:
            came = self._loop.create_future()
            incoming.on_more = functools.partial(_set, came)
            try:
                async with asyncio.timeout(self._around.body_timeout):
                    await came
            except TimeoutError:
                raise BadBody(refusals.SLOW_BODY) from None
            if not until_whole:
                break
        if incoming.refusal is not None:
            raise BadBody(incoming.refusal)

    async def _called_back(self, line: Line) -> None:
        """As the product waits for an answer: a future that wakes a task in the loop's next turn."""
        if line.answer is None and line.failure is None:
            came = self._loop.create_future()
            line.on_news = functools.partial(_set, came)
            await came
            line.on_news = self.go_on  # of a longer answer, only the head is waited for like this

    def _send(self, line: Line, upstream: Upstream) -> None:
        """Raises NotSent."""
        incoming, reading = self._incoming, self._reading
        opening = request_head(
            reading.opening,
            length=incoming.length if self._head.announced else None,
            request_id=self._request_id if reading.request_id is None else None,
            credential=_credential(upstream) if reading.keyless else None,
        )
        line.send(opening + self._body(), timeout=self._around.response_timeout, head_only=self._method == "HEAD")
        self._line = line
        self._attempts += 1
        if self._route.kind is Kind.INFERENCE and self._around.held.take(incoming.size):
            self._counted = incoming.size  # a retry would need it
        upstream.unanswered.add(self)
        line.on_news = self.go_on

    def _body(self) -> bytes:
        """What has come of it and is not sent, framed."""
        incoming = self._incoming
        pieces, incoming.body = incoming.body, []
        if not self._head.chunked:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        last = b"0\r\n\r\n" if incoming.complete else b""
        return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + last

    def _framed(self, pieces: list[bytes], *, last: bool) -> bytes:
        if self._framing is not Framing.CHUNKED:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + (b"0\r\n\r\n" if last else b"")

    def _failed(self, error: UpstreamError) -> None:
        if self._upstream is not None:
            self._around.rotation.failed(self._upstream)
        if self._begun:
            self._outcome = "cut"
            self._finish(keep_alive=False)
        else:
            self._reply(replies.failed(str(error), self._request_id, repeatable=True), "unavailable")

    def _refuse(self, refusal: Refusal) -> None:
        self._reply(replies.refused(refusal, self._request_id), "refused")

    def _reply(self, response: web.Response, outcome: str) -> None:
        if self._over:
            return
        self._status, self._outcome = response.status, outcome
        keep_alive = self._keep_alive and self._incoming.complete and not self._head.line.http_1_0
        self._client.write(written(response, keep_alive=keep_alive, head_only=self._method == "HEAD"))
        self._finish(keep_alive=keep_alive)

    def _finish(self, *, keep_alive: bool = False) -> None:
        """Gives everything back and tells of it, once."""
        if self._over:
            return
        self._over = True
        around, upstream, line = self._around, self._upstream, self._line
        if line is not None and upstream is not None:
            if self._outcome == "answered":
                around.lines.give_back(upstream, line)
            else:
                line.on_news = None
                line.abort()
            upstream.unanswered.discard(self)
        if upstream is not None:
            around.rotation.release(upstream)
        around.held.give_back(self._counted)
        around.counters.in_flight -= 1
        around.counters.failed += self._outcome in {"cut", "unavailable"}
        around.events.publish(
            RequestFinished(
                method=self._method,
                route=self._route.name,
                status=self._status,
                outcome=self._outcome,
                slot=None if upstream is None else upstream.slot,
                attempts=self._attempts,
                seconds=self._loop.time() - self._started,
                request_id=self._request_id,
                waited=self._waited,
            )
        )
        self._client.finished(keep_alive=keep_alive)


def _set(came: asyncio.Future[None]) -> None:
    if not came.done():
        came.set_result(None)


def _credential(upstream: Upstream) -> Credential:
    name = upstream.key_header.encode("ascii")
    return Credential(name, b"Bearer " + upstream.credential.get_secret_value().encode("utf-8"))


def written(response: web.Response, *, keep_alive: bool, head_only: bool = False) -> bytes:
    """An answer of the balancer's own as it goes out."""
    body = response.body if isinstance(response.body, bytes) else b""
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    lines.append(f"Content-Length: {len(body)}")
    if not keep_alive:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (b"" if head_only else body)
