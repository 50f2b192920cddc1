"""When to come back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.policy.queueing import QueueLimits, retry_after


@given(st.floats(0.01, 1000), st.floats(0, 1))
def test_a_refused_request_is_told_to_come_back_soon_and_never_later_than_it_would_have_waited(timeout, draw):
    assert 0 < retry_after(QueueLimits(size=0, timeout=timeout), draw) <= min(1.0, timeout)


def test_those_who_are_refused_together_do_not_come_back_together():
    limits = QueueLimits(size=0, timeout=60.0)
    assert retry_after(limits, 0.0) < retry_after(limits, 0.5) < retry_after(limits, 1.0)
