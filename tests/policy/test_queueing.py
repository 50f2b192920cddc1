"""When to come back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.policy.queueing import QueueLimits, retry_after


@given(st.floats(0.01, 1000))
def test_a_refused_request_is_told_to_come_back_soon_and_never_later_than_it_would_have_waited(timeout):
    assert 0 < retry_after(QueueLimits(size=0, timeout=timeout)) <= min(1.0, timeout)
