"""What becomes of a request whose replica gave no answer: another replica, or which error. Pure.

"Not sent" is always safe to repeat. A request that a replica may have seen is repeated once, and only where repeating
is what every client of this API does anyway: inference, which creates nothing. Whatever has begun to be answered is
never repeated. A request that was in flight at two deaths may be why, so nobody should send it a third time.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SHORTEST_ANSWER = 0.02
"""Seconds below which no replica answers: with less left of the client's own deadline, nothing is tried any more."""

TIMEOUT_HEADERS = (b"x-stainless-timeout", b"x-stainless-read-timeout")
"""In which OpenAI's SDKs say how many seconds they wait for an answer: that for Node, and that for Python."""


class Failure(enum.Enum):
    """How far an attempt got."""

    NOT_SENT = "not sent"  # the replica received no byte
    LOST = "lost"  # it received some, and ended before there was an answer to pass on
    GIVEN_UP = "given up"  # it received some, and hangs
    CUT = "cut"  # its answer was none, or ended after it had begun to be passed on


class Next(enum.Enum):
    """What is done about it."""

    ANOTHER = "another replica"
    CLIENT_MAY_REPEAT = "an error; the client may send it again"
    CLIENT_MUST_NOT = "an error; sending it again may do it twice"
    SUSPECT = "an error; it was in flight at two deaths"


@dataclass(frozen=True, slots=True)
class Attempts:
    """What is known of a request when an attempt has failed.

    `inference` is false for whatever creates something. `body_held` says that everything sent so far can be sent
    again. `lost_before` counts earlier attempts that ended as LOST or GIVEN_UP. `time_left` is in seconds, until the
    client's own deadline.
    """

    inference: bool
    body_held: bool
    lost_before: int
    time_left: float = math.inf


def decide(failure: Failure, attempts: Attempts) -> Next:
    in_time = attempts.time_left >= SHORTEST_ANSWER
    if failure is Failure.NOT_SENT:
        return Next.ANOTHER if in_time else Next.CLIENT_MAY_REPEAT
    if not attempts.inference:
        return Next.CLIENT_MUST_NOT
    if attempts.lost_before:
        return Next.SUSPECT
    if failure is Failure.CUT or not attempts.body_held or not in_time:
        return Next.CLIENT_MAY_REPEAT
    return Next.ANOTHER


def client_timeout(values: Iterable[bytes]) -> float:
    """Seconds that the client waits, by the values of TIMEOUT_HEADERS; what is no number of seconds says nothing."""
    shortest = math.inf
    for value in values:
        try:
            seconds = float(value)
        except ValueError:
            continue
        if 0 < seconds < shortest:
            shortest = seconds
    return shortest


def creates(route: str, body: bytes) -> bool:
    """A response in the background is a thing that has been created: repeating it would make a second one."""
    if route != "responses":
        return False
    document = _document(body)
    if document is None:
        return True
    background = document.get("background")
    return background is not None and background is not False


def model_of(body: bytes) -> str:
    """The model that a request asks for, cut to a length that a log bears; empty where it cannot be told."""
    document = _document(body)
    model = None if document is None else document.get("model")
    return model[:200] if isinstance(model, str) else ""


def _document(body: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
