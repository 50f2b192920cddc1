"""Why a request failed: by what was done to the pool, and by what the daemon's log says of it. Pure.

A failure that none of these explains is a defect: a stream (or a long answer) that broke off, visibly, as the replica
that sent it ended; a request that lost two replicas, each of which ended, or was given up because the soak had stopped
it; a body too long to be held, or a WebSocket, on a replica that ended. All times are Unix seconds.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

SLACK = 1.0
"""Seconds by which the log's moment and the client's may differ."""


class Ask(enum.Enum):
    """What a client wanted."""

    PLAIN = "plain"
    FRESH = "plain, on a new connection"
    STREAM = "stream"
    SLOW = "long answer, read slowly"
    UPLOAD = "upload"
    HUGE = "upload too long to be held"
    MODELS = "list of models"
    HEALTH = "health"
    SOCKET = "websocket"


@dataclass(frozen=True, slots=True)
class Request:
    """What became of one request, as its client saw it.

    `whole` says that the answer ended as its framing says, and with no event of an error; `right` that it was the
    answer to this request, and all of it. `left` says that the client went away on purpose. `error` is what it was
    told, or how the connection ended.
    """

    ask: Ask
    id: str
    started: float
    finished: float
    first_byte: float | None = None
    status: int = 0
    slot: int | None = None
    whole: bool = False
    right: bool = False
    left: bool = False
    error: str = ""

    @property
    def succeeded(self) -> bool:
        return self.status in {101, 200} and self.whole and self.right


class Why(enum.Enum):
    LEFT = "the client left by itself"
    CUT = "its replica ended amid the answer, and it broke off visibly"
    SUSPECT = "in flight at two deaths, or hangs"
    NOT_HELD = "its replica ended, and the body was too long to be held"
    TUNNEL = "its replica ended, and a WebSocket is not sent twice"


@dataclass(frozen=True, slots=True)
class End:
    """A replica that ended amid its work: it had not been told to leave, or was not let finish what it held."""

    at: float
    replica: int
    slot: int


def ends(log: Iterable[Mapping[str, Any]], killed: Collection[int] = ()) -> list[End]:
    """By the daemon's log. `killed` is whom the soak sent SIGKILL: also one that was leaving may have had it before it
    was done, and for the daemon its end is then an expected one.
    """
    return [
        End(moment(event), event["replica"], event["slot"])
        for event in log
        if event.get("event") == "replica_killed"
        or (
            event.get("event") == "replica_exited"
            and (not event["expected"] or (event["status"] == "SIGKILL" and event["replica"] in killed))
        )
    ]


def moment(event: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


class Judge:
    """Knows what happened; asked about each request that did not succeed."""

    def __init__(
        self, log: Sequence[Mapping[str, Any]], killed: Collection[int] = (), stopped: Collection[int] = ()
    ) -> None:
        """`killed` is as of `ends`, `stopped` whom the soak sent SIGSTOP."""
        self._ends = ends(log, killed)
        self._suspected = {event["request_id"]: event for event in log if event.get("event") == "request_suspected"}
        # A replica that hangs is killed later than what waits there is given to another one.
        self._given_up = {
            (event["request_id"], event["replica"])
            for event in log
            if event.get("event") == "request_retried" and event["reason"] == "given up" and event["replica"] in stopped
        }
        self._rules: Sequence[tuple[Why, Callable[[Request], bool]]] = (
            (Why.LEFT, lambda request: request.left),
            (Why.CUT, self._was_cut),
            (Why.SUSPECT, self._is_suspect),
            (Why.NOT_HELD, lambda request: request.ask is Ask.HUGE and self._was_lost(request)),
            (Why.TUNNEL, lambda request: request.ask is Ask.SOCKET and self._was_lost(request)),
        )

    def why(self, request: Request) -> Why | None:
        """None where nothing explains it."""
        return next((why for why, applies in self._rules if applies(request)), None)

    def _was_cut(self, request: Request) -> bool:
        visible = not request.whole and bool(request.error)
        return (
            request.status in {101, 200} and visible and any(end.slot == request.slot for end in self._during(request))
        )

    def _is_suspect(self, request: Request) -> bool:
        event = self._suspected.get(request.id)
        if request.status != 502 or event is None:
            return False
        ended = {end.replica for end in self._during(request)}
        lost = {replica for replica in event["replicas"] if replica in ended or (request.id, replica) in self._given_up}
        return len(event["replicas"]) >= 2 and lost == set(event["replicas"])

    def _was_lost(self, request: Request) -> bool:
        ended = request.status == 502 or (request.status in {0, 101} and not request.whole)
        return ended and bool(self._during(request))

    def _during(self, request: Request) -> list[End]:
        return [end for end in self._ends if request.started - SLACK <= end.at <= request.finished + SLACK]


EXPECTED_ERRORS = frozenset({
    "configuration_change_refused",
    "settings_refused",
    "rollout_failed",
    "request_suspected",
    "last_good_started",
})  # fmt: skip
"""What the daemon tells at level error without anything being wrong with it."""


def defects(log: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the daemon says of itself that it never should."""
    return [
        f"{event.get('event')}: {event.get('exception') or event.get('reason') or dict(event)}"[:2000]
        for event in log
        if (event.get("level") in {"error", "critical"} and event.get("event") not in EXPECTED_ERRORS | {"litellm"})
        or "exception" in event
        or event.get("cause") == "internal error"
    ]
