"""The pool in one word."""

from __future__ import annotations

import pytest

from supervisor.policy.condition import condition
from supervisor.status import Condition


@pytest.mark.parametrize(
    ("stopping", "ready", "rolling", "was_ready", "word"),
    [
        (False, 0, True, False, Condition.STARTING),
        (False, 0, False, True, Condition.UNAVAILABLE),
        (False, 1, True, True, Condition.DEGRADED),
        (False, 2, False, True, Condition.DEGRADED),
        (False, 3, True, True, Condition.ROLLING),
        (False, 3, False, True, Condition.READY),
        (False, 4, False, True, Condition.READY),
        (True, 3, False, True, Condition.STOPPING),
    ],
)
def test_the_condition_of_three_wanted_replicas(
    *, stopping: bool, ready: int, rolling: bool, was_ready: bool, word: Condition
) -> None:
    assert condition(stopping=stopping, ready=ready, wanted=3, rolling=rolling, was_ready=was_ready) is word
