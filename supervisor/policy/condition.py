"""The pool in one word, from a few numbers. Pure."""

from __future__ import annotations

from supervisor.status import Condition


def condition(*, stopping: bool, ready: int, wanted: int, rolling: bool, was_ready: bool) -> Condition:
    """`ready` and `wanted` count replicas; `was_ready` says whether any ever was."""
    if stopping:
        return Condition.STOPPING
    if ready == 0:
        return Condition.UNAVAILABLE if was_ready else Condition.STARTING
    if ready < wanted:
        return Condition.DEGRADED
    return Condition.ROLLING if rolling else Condition.READY
