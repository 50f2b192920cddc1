"""Whether a replica that does not answer is busy, suspect or hung. Pure.

Busy is not dead: a replica whose loop is slow to answer a probe but still relays bytes is left alone.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Verdict(enum.Enum):
    WELL = "well"
    SUSPECT = "suspect"  # no new request for it
    HUNG = "hung"  # kill it


@dataclass(frozen=True, slots=True)
class Vitals:
    """Moments are monotonic seconds. `misses` counts probes in a row without an answer."""

    misses: int
    last_answer_at: float
    last_byte_at: float


def judge(vitals: Vitals, *, now: float, kill_after: float) -> Verdict:
    if vitals.misses == 0:
        return Verdict.WELL
    if now - max(vitals.last_answer_at, vitals.last_byte_at) >= kill_after:
        return Verdict.HUNG
    return Verdict.SUSPECT
