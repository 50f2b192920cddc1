"""Busy, suspect or hung."""

from __future__ import annotations

import pytest

from supervisor.policy.health import Verdict, Vitals, judge


@pytest.mark.parametrize(
    ("vitals", "verdict"),
    [
        (Vitals(misses=0, last_answer_at=0.0, last_byte_at=0.0), Verdict.WELL),
        (Vitals(misses=1, last_answer_at=98.0, last_byte_at=0.0), Verdict.SUSPECT),
        (Vitals(misses=6, last_answer_at=86.0, last_byte_at=0.0), Verdict.SUSPECT),
        (Vitals(misses=7, last_answer_at=85.0, last_byte_at=0.0), Verdict.HUNG),
        (Vitals(misses=7, last_answer_at=85.0, last_byte_at=99.0), Verdict.SUSPECT),
        (Vitals(misses=50, last_answer_at=1.0, last_byte_at=85.0), Verdict.HUNG),
    ],
)
def test_a_replica_is_hung_after_fifteen_seconds_without_an_answer_and_without_a_byte(
    vitals: Vitals, verdict: Verdict
) -> None:
    assert judge(vitals, now=100.0, kill_after=15.0) is verdict
