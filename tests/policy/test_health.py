"""Busy, suspect, silent or hung."""

from __future__ import annotations

import pytest

from supervisor.policy.health import HealthRules, Verdict, Vitals, judge, may_kill
from supervisor.policy.lifecycle import State

RULES = HealthRules(give_up_after=3, kill_after=15.0)
INTERVAL = TIMEOUT = 2.0


def history(*moments: float, answered: float = 0.0, bytes_at: tuple[float, ...] = ()) -> Vitals:
    """Probes missed at these moments, after one answered, with bytes relayed at others."""
    vitals = Vitals().answered(answered)
    for moment in moments:
        relayed = [at for at in bytes_at if at <= moment]
        vitals = vitals.missed(moment, last_byte_at=max(relayed, default=float("-inf")))
    return vitals


@pytest.mark.parametrize(
    ("vitals", "now", "verdict"),
    [
        (history(), 100.0, Verdict.WELL),
        (history(4), 4.0, Verdict.SUSPECT),
        (history(4, 6), 6.0, Verdict.SUSPECT),
        (history(4, 6, 8), 8.0, Verdict.SILENT),
        (history(4, 6, 8, 10, 12, 14), 14.0, Verdict.SILENT),
        (history(4, 6, 8, 10, 12, 14, 16), 16.0, Verdict.HUNG),
        # What was relayed before the first miss does not speak for it.
        (history(4, 6, 8, bytes_at=(3.9,)), 8.0, Verdict.SILENT),
        # A byte between two misses does: it works, and has no time for the probe.
        (history(4, 6, 8, bytes_at=(5.0,)), 8.0, Verdict.SUSPECT),
        (history(4, 6, 8, 10, bytes_at=(5.0,)), 10.0, Verdict.SILENT),
        (history(*range(4, 60, 2), bytes_at=tuple(range(60))), 58.0, Verdict.SUSPECT),
        (history(*range(4, 20, 2), bytes_at=(5.0,)), 18.0, Verdict.SILENT),
        (history(*range(4, 22, 2), bytes_at=(5.0,)), 20.0, Verdict.HUNG),
        # The daemon itself has slept: one miss proves nothing, however long ago the last answer.
        (history(1000), 1000.0, Verdict.SUSPECT),
        (history(1000, 1002), 1002.0, Verdict.SUSPECT),
    ],
)
def test_what_a_replica_that_does_not_answer_is(vitals: Vitals, now: float, verdict: Verdict) -> None:
    assert judge(vitals, now=now, rules=RULES) is verdict


def test_an_answer_takes_everything_back() -> None:
    vitals = history(4, 6, 8).answered(9.0)
    assert judge(vitals, now=9.0, rules=RULES) is Verdict.WELL
    assert judge(vitals.missed(13.0, last_byte_at=0.0), now=13.0, rules=RULES) is Verdict.SUSPECT


@pytest.mark.parametrize("stopped_at", [0.001, 0.5, 1.0, 1.999, 2.0, 2.001])
def test_with_the_defaults_nothing_waits_for_a_stopped_replica_longer_than_eight_seconds(stopped_at: float) -> None:
    """Probes are asked every 2 s, from 0 on; one that was asked before it stopped, or after, is missed 2 s later."""
    vitals = Vitals().answered(0.0)
    asked = 0.0
    while asked < 100:
        asked += INTERVAL
        if asked < stopped_at:
            vitals = vitals.answered(asked)
            continue
        vitals = vitals.missed(asked + TIMEOUT, last_byte_at=stopped_at)
        if judge(vitals, now=asked + TIMEOUT, rules=RULES) is Verdict.SILENT:
            break
    assert asked + TIMEOUT - stopped_at <= 8.0


@pytest.mark.parametrize(
    ("well", "serving", "wanted", "silence", "killed"),
    [
        (2, 3, 3, 15.0, True),  # the ordinary case: others are well
        (0, 3, 3, 15.0, True),  # nobody is well, and nobody is being replaced: one begins
        (0, 2, 3, 15.0, False),  # its replacement is on the way: the others are not ended before it is there
        (1, 2, 3, 15.0, True),  # it is there
        (0, 1, 1, 15.0, True),  # a single one that hangs serves nobody
        (0, 2, 3, 59.0, False),
        (0, 2, 3, 60.0, True),  # the replacement does not come: nothing can become worse
    ],
)
def test_when_nobody_is_well_replicas_are_killed_one_at_a_time(
    well: int, serving: int, wanted: int, silence: float, killed: bool
) -> None:
    decided = may_kill(State.SUSPECT, well=well, serving=serving, wanted=wanted, silence=silence, rules=RULES)
    assert decided is killed


@pytest.mark.parametrize(("state", "killed"), [(State.DRAINING, True), (State.STOPPING, False), (State.EXITED, False)])
def test_what_serves_nobody_new_is_not_kept_for_the_sake_of_the_others(state: State, killed: bool) -> None:
    assert may_kill(state, well=0, serving=2, wanted=3, silence=15.0, rules=RULES) is killed
