"""Which replicas one request has had, and whether it gets another.

Owns an exchange's attempts: it leases, remembers, asks policy, and tells of what it decided. How a request is sent and
an answer passed on is the exchange's business.
"""

from __future__ import annotations

import asyncio

from supervisor.balancer.body import RequestBody
from supervisor.balancer.response_head import ResponseHead
from supervisor.balancer.upstream import Connection, ResponseTimeout
from supervisor.errors import NotSent, ReplicaGivenUp, ReplicaLost, UpstreamError
from supervisor.events import Events, RequestRetried, RequestSuspected
from supervisor.policy import retry
from supervisor.policy.retry import Failure, Next
from supervisor.policy.routes import Kind, Route
from supervisor.rotation import Rotation, Upstream

_NONE: frozenset[int] = frozenset()


class Dispatch:
    """The attempts of one request, one after the other.

    `deadline` is how long it may stand in line, `client_deadline` when its client stops waiting, both on the loop's
    clock.
    """

    __slots__ = (
        "_body",
        "_client_deadline",
        "_deadline",
        "_events",
        "_loop",
        "_lost",
        "_request_id",
        "_rotation",
        "_route",
        "_tried",
        "_waits_on",
        "attempts",
        "slot",
        "waited",
    )

    def __init__(
        self,
        rotation: Rotation,
        events: Events,
        body: RequestBody,
        route: Route,
        request_id: str,
        loop: asyncio.AbstractEventLoop,
        deadline: float,
        client_deadline: float,
    ) -> None:
        self._rotation = rotation
        self._events = events
        self._body = body
        self._route = route
        self._request_id = request_id
        self._deadline = min(deadline, client_deadline)
        self._client_deadline = client_deadline
        self._loop = loop
        self._tried = _NONE
        self._lost = 0  # attempts that a replica may have seen
        self._waits_on: Connection | None = None
        self.attempts = 0
        self.waited = 0.0  # seconds in line
        self.slot: int | None = None

    def take(self) -> Upstream | None:
        """A replica that has not failed this request yet, if one can be had now; to be given back."""
        upstream = self._rotation.take(self._tried)
        if upstream is not None:
            self.attempts += 1
            self.slot = upstream.slot
        return upstream

    async def wait(self) -> Upstream:
        """The same, as soon as there is one. Raises NobodyReady."""
        since = self._loop.time()
        try:
            upstream = await self._rotation.wait(self._tried, timeout=max(0.0, self._deadline - since))
        finally:
            self.waited += self._loop.time() - since
        self.attempts += 1
        self.slot = upstream.slot
        return upstream

    async def head_from(self, connection: Connection, upstream: Upstream) -> ResponseHead:
        """Raises UpstreamError, also when the replica is given up."""
        self.waits_on(connection, upstream)
        try:
            return await connection.head()
        finally:
            self.waits_no_more(upstream)

    def waits_on(self, connection: Connection, upstream: Upstream) -> None:
        """The request has been sent, and no answer has come."""
        self._waits_on = connection
        upstream.unanswered.add(self)

    def waits_no_more(self, upstream: Upstream) -> None:
        upstream.unanswered.discard(self)
        self._waits_on = None

    def give_up(self) -> None:
        """The replica that should answer hangs: goes to another one, if the request may. Called by the rotation."""
        if self._waits_on is not None and self._decide(Failure.GIVEN_UP) is Next.ANOTHER:
            self._waits_on.give_up()

    def after(self, error: UpstreamError, upstream: Upstream) -> Next:
        """What follows from an attempt that failed before the client got a byte."""
        self.failed(error, upstream)
        failure = _failure(error)
        following = self._decide(failure)
        self._tried |= {upstream.replica}
        if following is Next.ANOTHER:
            self._lost += failure is not Failure.NOT_SENT
            self._events.publish(
                RequestRetried(upstream.replica, upstream.slot, self._route.name, failure.value, self._request_id)
            )
        return following

    def failed(self, error: UpstreamError, upstream: Upstream) -> None:
        """Counts what was the replica's own failure; how long it is silent is mostly its provider's."""
        if not isinstance(error, ResponseTimeout):
            self._rotation.failed(upstream)

    def accuse(self, method: str, path: str) -> None:
        """Tells of a request that is Next.SUSPECT."""
        self._events.publish(
            RequestSuspected(
                replicas=tuple(sorted(self._tried)),
                method=method,
                path=path,
                model=retry.model_of(self._body.bytes_held),
                request_id=self._request_id,
            )
        )

    def _decide(self, failure: Failure) -> Next:
        name = self._route.name
        attempts = retry.Attempts(
            inference=self._route.kind is Kind.INFERENCE and not retry.creates(name, self._body.bytes_held),
            body_held=self._body.held,
            lost_before=self._lost,
            time_left=self._client_deadline - self._loop.time(),
        )
        return retry.decide(failure, attempts)


def _failure(error: UpstreamError) -> Failure:
    match error:
        case NotSent():
            return Failure.NOT_SENT
        case ReplicaGivenUp():
            return Failure.GIVEN_UP
        case ReplicaLost():
            return Failure.LOST
        case _:
            return Failure.CUT
