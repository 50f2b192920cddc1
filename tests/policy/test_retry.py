"""Who gets a second replica."""

from __future__ import annotations

import itertools

import pytest

from supervisor.policy.retry import Attempts, Failure, another_replica

EVERY = [
    Attempts(inference=inference, body_held=held, lost_before=lost)
    for inference, held, lost in itertools.product((True, False), (True, False), (0, 1, 2))
]


@pytest.mark.parametrize("attempts", EVERY)
def test_what_was_not_sent_always_goes_to_another_replica(attempts):
    assert another_replica(Failure.NOT_SENT, attempts)


@pytest.mark.parametrize("attempts", EVERY)
def test_what_has_begun_to_be_answered_never_does(attempts):
    assert not another_replica(Failure.CUT, attempts)


@pytest.mark.parametrize("attempts", EVERY)
def test_what_a_replica_may_have_seen_is_repeated_once_for_inference_whose_body_is_held(attempts):
    repeated = another_replica(Failure.LOST, attempts)
    assert repeated == (attempts == Attempts(inference=True, body_held=True, lost_before=0))
