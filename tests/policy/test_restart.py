"""Backoff: at once, then 1, 2, 4 … at most 30 s; early exits only; never given up."""

from __future__ import annotations

import pytest

from supervisor.policy.restart import RestartRules, SlotRecord, after_exit, due_at, forgiven, is_crash_looping

RULES = RestartRules()


def fail(times: int, *, ready_since: float | None = None, jitter: float = 0.0) -> SlotRecord:
    record = SlotRecord()
    for _ in range(times):
        record = after_exit(record, ready_since=ready_since, now=100.0, jitter=jitter, rules=RULES)
    return record


@pytest.mark.parametrize(
    ("failures", "delay"), [(1, 0), (2, 1), (3, 2), (4, 4), (5, 8), (6, 16), (7, 30), (8, 30), (5000, 30)]
)
def test_the_wait_doubles_up_to_the_maximum(failures: int, delay: float) -> None:
    assert due_at(fail(failures), short=False, rules=RULES) == 100.0 + delay


@pytest.mark.parametrize("failures", [2, 3, 8])
def test_the_wait_is_at_most_a_second_while_too_few_are_ready(failures: int) -> None:
    assert due_at(fail(failures), short=True, rules=RULES) == 101.0


def test_jitter_only_shortens_and_never_by_more_than_a_quarter() -> None:
    assert due_at(fail(6, jitter=1.0), short=False, rules=RULES) == 112.0


def test_an_exit_long_after_ready_starts_afresh() -> None:
    record = after_exit(fail(6), ready_since=80.0, now=100.0, jitter=0.0, rules=RULES)
    assert record.failures == 0
    assert due_at(record, short=False, rules=RULES) == 100.0


def test_an_exit_soon_after_ready_counts() -> None:
    assert fail(3, ready_since=95.0).failures == 3


def test_people_are_told_from_the_third_failure_on() -> None:
    assert not is_crash_looping(fail(2))
    assert is_crash_looping(fail(3))


def test_something_new_to_run_is_tried_at_once() -> None:
    assert due_at(forgiven(fail(7)), short=False, rules=RULES) == 100.0
