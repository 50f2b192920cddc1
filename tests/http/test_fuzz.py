"""A short run of the fuzzer, the same one every time; `python -m tests.http.fuzz` looks further."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http.fuzz import Run, check_front, check_guard, running
from tests.http.streams import SEEDS


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with running() as made:
        yield made


@pytest.mark.parametrize(("check", "examples"), [("guard", 300), ("front", 150), ("answer", 300), ("replica", 40)])
def test_a_short_run_finds_nothing(run: Run, check: str, examples: int):
    run.examples(check, 20_261_123, examples)


@pytest.mark.parametrize("stream", SEEDS)
def test_the_guard_and_two_other_readings_agree_about_the_corpus(stream: bytes):
    check_guard(stream, [stream[at : at + 1] for at in range(len(stream))])


def test_a_refusal_that_keeps_a_connection_of_http_1_0_is_not_taken_for_its_end(run: Run):
    stream = (
        b"GET /v1/models HTTP/1.0\r\nOrigin: https://a.example\r\nConnection: keep-alive\r\n\r\n"
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-1\r\n\r\n"
    )
    run._runner.run(check_front(run._bench, run._recorder, stream, [stream]))
