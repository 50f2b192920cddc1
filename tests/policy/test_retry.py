"""Who gets a second replica."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.policy.retry import Attempts, Failure, Next, client_timeout, creates, decide, model_of

EVERY = [
    Attempts(inference=inference, body_held=held, lost_before=lost)
    for inference, held, lost in itertools.product((True, False), (True, False), (0, 1, 2))
]
SENT = (Failure.LOST, Failure.GIVEN_UP)
AFTER_SENDING = (*SENT, Failure.CUT)


@pytest.mark.parametrize("attempts", EVERY)
def test_what_was_not_sent_always_goes_to_another_replica(attempts: Attempts) -> None:
    assert decide(Failure.NOT_SENT, attempts) is Next.ANOTHER


@pytest.mark.parametrize("attempts", EVERY)
def test_what_has_begun_to_be_answered_never_does(attempts: Attempts) -> None:
    assert decide(Failure.CUT, attempts) is not Next.ANOTHER


@pytest.mark.parametrize("failure", SENT)
@pytest.mark.parametrize("attempts", EVERY)
def test_what_a_replica_may_have_seen_is_repeated_once_for_inference_whose_body_is_held(
    attempts: Attempts, failure: Failure
) -> None:
    repeated = decide(failure, attempts) is Next.ANOTHER
    assert repeated == (attempts == Attempts(inference=True, body_held=True, lost_before=0))


@pytest.mark.parametrize("failure", AFTER_SENDING)
@pytest.mark.parametrize("attempts", EVERY)
def test_a_client_is_told_not_to_repeat_what_creates_or_what_was_in_flight_at_two_deaths(
    attempts: Attempts, failure: Failure
) -> None:
    following = decide(failure, attempts)
    if not attempts.inference:
        assert following is Next.CLIENT_MUST_NOT
    elif attempts.lost_before:
        assert following is Next.SUSPECT
    else:
        assert following in {Next.ANOTHER, Next.CLIENT_MAY_REPEAT}


@pytest.mark.parametrize("failure", [Failure.NOT_SENT, *SENT])
@pytest.mark.parametrize(("left", "tried"), [(-1.0, False), (0.0, False), (0.001, False), (0.5, True)])
def test_nothing_is_tried_that_cannot_answer_before_the_client_leaves(
    failure: Failure, left: float, tried: bool
) -> None:
    attempts = Attempts(inference=True, body_held=True, lost_before=0, time_left=left)
    assert decide(failure, attempts) is (Next.ANOTHER if tried else Next.CLIENT_MAY_REPEAT)


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ((), math.inf),
        (("30",), 30.0),
        (("2.5",), 2.5),
        (("30", "20"), 20.0),
        (("", "soon"), math.inf),
        (("0", "-3"), math.inf),
        (("nan", "inf"), math.inf),
        (("9", "nan"), 9.0),
    ],
)
def test_a_client_says_how_long_it_waits(values: tuple[str, ...], seconds: float) -> None:
    assert client_timeout(map(str.encode, values)) == seconds


@given(st.lists(st.binary() | st.text().map(str.encode)))
def test_whatever_a_client_sends_there_is_a_positive_time(values: list[bytes]) -> None:
    assert client_timeout(values) > 0


@pytest.mark.parametrize(
    ("route", "body", "is_so"),
    [
        ("chat/completions", b'{"background": true}', False),
        ("responses", b'{"background": true}', True),
        ("responses", b'{"background": false}', False),
        ("responses", b'{"background": null}', False),
        ("responses", b'{"model": "m"}', False),
        ("responses", b'{"background": []}', True),
        ("responses", b"[]", True),
        ("responses", b"not JSON", True),
        ("responses", b"[" * 100_000, True),
    ],
)
def test_a_response_in_the_background_is_created_and_so_may_be_what_cannot_be_read(
    route: str, body: bytes, is_so: bool
) -> None:
    assert creates(route, body) is is_so


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model": "gpt-4"}', "gpt-4"),
        (b'{"model": 4}', ""),
        (b"\xff", ""),
        (b'{"model": "%b"}' % (b"x" * 999), "x" * 200),
    ],
)
def test_a_suspect_is_named_by_its_model_where_that_can_be_read(body: bytes, model: str) -> None:
    assert model_of(body) == model
