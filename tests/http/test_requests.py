"""Every case of the corpus against a real balancer over real sockets, whole and byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from supervisor.balancer.front import LINGERING
from tests.http.bench import final, recording, write
from tests.http.corpus import fields, framing, request_line
from tests.http.corpus.case import Case

CASES = [*request_line.CASES, *fields.CASES, *framing.CASES]
WITHIN = 30.0


def whole(sent: bytes) -> list[bytes]:
    return [sent]


def bytewise(sent: bytes) -> list[bytes]:
    """Byte by byte, but for the long runs that only make something too long."""
    if len(sent) <= 1500:
        return [sent[at : at + 1] for at in range(len(sent))]
    return [sent[at : at + 97] for at in range(0, len(sent), 97)]


def test_the_corpus_is_large_and_no_case_is_twice_in_it():
    assert len(CASES) >= 150
    assert len({case.name for case in CASES}) == len(CASES)
    assert len({case.sent for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("split", "new_loop"),
    [(whole, uvloop.new_event_loop), (bytewise, asyncio.new_event_loop)],
    ids=["whole", "bytewise"],
)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_request_ends_as_the_rfc_says(
    case: Case,
    split: Callable[[bytes], list[bytes]],
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    short_dir: Path,
):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(_ends_as_it_says(case, split(case.sent), short_dir), WITHIN))


async def _ends_as_it_says(case: Case, pieces: list[bytes], directory: Path) -> None:
    async with recording(directory) as (b, recorder):
        client = await b.connect()
        writing = asyncio.create_task(write(client, pieces))
        heads = case.sent.lstrip().startswith(b"HEAD ")
        answers = [await final(client.reader, bodiless=heads) for _ in case.statuses]
        await writing
        assert tuple(answer.status for answer in answers) == case.statuses
        for answer in answers:
            if answer.status >= 400:
                assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
                assert answer.one("connection") == "close"
        if case.closed:
            # What is sent behind the last request may be answered with a reset.
            with contextlib.suppress(ConnectionResetError):
                async with asyncio.timeout(LINGERING - 1):  # the end is told at once, however long it is lingered
                    assert await client.reader.read() == b""
        else:
            await client.send("GET", "/health/liveliness")
            assert (await final(client.reader)).status == 200
        assert tuple(recorder.seen) == case.seen
        assert all(event.outcome == ("refused" if event.status >= 400 else "answered") for event in b.seen)
        assert [event.status for event in b.seen][: len(case.statuses)] == list(case.statuses)
