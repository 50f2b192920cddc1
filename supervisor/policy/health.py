"""Whether a replica that does not answer its probes is busy, suspect, silent or hung. Pure.

Busy is not dead: a replica whose loop is slow to answer a probe but still relays bytes is left alone. And when nobody
is well, the cause may be the machine: then replicas are killed one at a time, each when the one before is replaced.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from dataclasses import dataclass

from supervisor.policy.lifecycle import LIVE, State

ALONE_PATIENCE = 4.0
"""How many times `kill_after` a hung replica is left alive for the sake of a replacement that does not come."""


class Verdict(enum.Enum):
    WELL = "well"
    SUSPECT = "suspect"  # no new request for it
    SILENT = "silent"  # what waits there for a first byte goes elsewhere
    HUNG = "hung"  # kill it


@dataclass(frozen=True, slots=True)
class HealthRules:
    """`give_up_after` in missed probes, `kill_after` in seconds."""

    give_up_after: int
    kill_after: float


@dataclass(frozen=True, slots=True)
class Vitals:
    """Moments are monotonic seconds. `misses` counts probes in a row without an answer.

    `quiet_misses` counts those of them between which no byte of a response was relayed either.
    """

    misses: int = 0
    quiet_misses: int = 0
    missed_at: float = -math.inf
    last_answer_at: float = -math.inf
    last_byte_at: float = -math.inf

    def answered(self, now: float) -> Vitals:
        return Vitals(last_answer_at=now, last_byte_at=self.last_byte_at)

    def missed(self, now: float, *, last_byte_at: float) -> Vitals:
        return dataclasses.replace(
            self,
            misses=self.misses + 1,
            quiet_misses=1 if last_byte_at > self.missed_at else self.quiet_misses + 1,
            missed_at=now,
            last_byte_at=last_byte_at,
        )

    def silence(self, now: float) -> float:
        """Seconds without an answer and without a byte."""
        return now - max(self.last_answer_at, self.last_byte_at)


def judge(vitals: Vitals, *, now: float, rules: HealthRules) -> Verdict:
    """One missed probe is never enough to give up or to kill, however long ago the last answer: we may have slept."""
    if vitals.misses == 0:
        return Verdict.WELL
    if vitals.quiet_misses < rules.give_up_after:
        return Verdict.SUSPECT
    return Verdict.HUNG if vitals.silence(now) >= rules.kill_after else Verdict.SILENT


def may_kill(state: State, *, well: int, serving: int, wanted: int, silence: float, rules: HealthRules) -> bool:
    """Whether a hung replica is killed now: if somebody else is well, or nobody is being replaced already.

    `well` counts the others that answer, `serving` all that serve, well or not, this one included. What hangs while its
    replacement cannot come up is killed in the end: from then on nothing can become worse. Nobody is worse off without
    one that drains, as it takes no new request; one that is ending already has a deadline of its own.
    """
    if state not in LIVE:
        return state is State.DRAINING
    return well > 0 or serving >= wanted or silence >= ALONE_PATIENCE * rules.kill_after
