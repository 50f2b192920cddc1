"""How long a line may be, how long one may stand in it, and when to come back. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """`size` in requests, `timeout` in seconds."""

    size: int
    timeout: float


def retry_after(limits: QueueLimits, draw: float) -> float:
    """Seconds after which a refused request has a fair chance: soon, because a replica is ready within a second.

    `draw`, from 0 to 1, spreads those who were refused together: clients obey this to the millisecond.
    """
    return min(1.0, limits.timeout) * (0.5 + draw / 2)
