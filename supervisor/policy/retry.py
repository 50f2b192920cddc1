"""Whether a request that got no answer goes to another replica. Pure.

"Not sent" is always safe to repeat. A request that a replica may have seen is repeated once, and only where repeating
is what every client of this API does anyway: inference, which creates nothing. Whatever has begun to be answered is
never repeated.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

HELD_BODY_LIMIT = 8 * 1024 * 1024  # bytes of a request's body that are kept for sending it once more


class Failure(enum.Enum):
    """How far an attempt got."""

    NOT_SENT = "not sent"  # the replica received no byte
    LOST = "lost"  # it received some, and ended before the first byte of a response
    CUT = "cut"  # it ended after that


@dataclass(frozen=True, slots=True)
class Attempts:
    """What is known of a request when an attempt has failed.

    `inference` is false for whatever creates something. `body_held` says that everything sent so far can be sent
    again. `lost_before` counts earlier attempts that ended as LOST.
    """

    inference: bool
    body_held: bool
    lost_before: int


def another_replica(failure: Failure, attempts: Attempts) -> bool:
    """Whether the request is given to another replica. One that was in flight at two deaths is not: it may be why."""
    match failure:
        case Failure.NOT_SENT:
            return True
        case Failure.LOST:
            return attempts.inference and attempts.body_held and attempts.lost_before == 0
        case Failure.CUT:
            return False
