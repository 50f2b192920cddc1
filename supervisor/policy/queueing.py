"""How long a line may be, how long one may stand in it, and when to come back. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """`size` in requests, `timeout` in seconds."""

    size: int
    timeout: float


def retry_after(limits: QueueLimits) -> float:
    """Seconds after which a refused request has a fair chance: soon, because a replica is ready within a second."""
    return min(1.0, limits.timeout)
