"""When a slot may be filled again after its replica ended. Pure.

The first time at once, then after 1, 2, 4 … seconds up to a maximum, with jitter. Only early exits count (before READY
or soon after), a late one starts afresh, and nothing is ever given up.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartRules:
    """Seconds all. `maximum_when_short` bounds the wait while fewer than wanted - 1 replicas are ready."""

    initial: float = 1.0
    maximum: float = 30.0
    maximum_when_short: float = 1.0
    early: float = 10.0


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """What a slot remembers. `jitter` is drawn once per exit, from 0 to 1, so that asking twice answers the same."""

    failures: int = 0  # early exits in a row
    last_exit_at: float = float("-inf")
    jitter: float = 0.0


def after_exit(
    record: SlotRecord, *, ready_since: float | None, now: float, jitter: float, rules: RestartRules
) -> SlotRecord:
    """The record after an exit that nobody asked for. `ready_since` is None for a replica that was never ready."""
    early = ready_since is None or now - ready_since < rules.early
    return SlotRecord(failures=record.failures + 1 if early else 0, last_exit_at=now, jitter=jitter)


def forgiven(record: SlotRecord) -> SlotRecord:
    """The record of a slot that gets something new to run."""
    return dataclasses.replace(record, failures=0)


def due_at(record: SlotRecord, *, short: bool, rules: RestartRules) -> float:
    """The moment from which the slot may be filled again; `short` says that too few replicas are ready to wait long."""
    if record.failures <= 1:
        return record.last_exit_at
    maximum = min(rules.maximum, rules.maximum_when_short) if short else rules.maximum
    # The exponent is bounded because a slot may fail for months.
    delay = min(rules.initial * 2.0 ** min(record.failures - 2, 32), maximum)
    return record.last_exit_at + delay * (1.0 - 0.25 * record.jitter)


def is_crash_looping(record: SlotRecord) -> bool:
    """Whether people should be told: it failed more often than bad luck explains."""
    return record.failures >= 3
