"""A prototype that is measured has to do the work: it answers as the product does, and refuses what the guard refuses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from benchmarks.prototypes.lean_front import LeanFront
from benchmarks.prototypes.own_front import OwnFront
from supervisor import rules
from supervisor.balancer.server import Balancer
from supervisor.events import Events, RequestFinished
from supervisor.settings.schema import Settings
from tests.eventually import eventually
from tests.http.bench import LIMITS, Recorder, final, write
from tests.http.corpus import fields, framing, request_line
from tests.http.corpus.case import POST, Case
from tests.wire import CHAT, POOL_KEY, Bench, Call, ScriptedReplica

CASES = [*request_line.CASES, *fields.CASES, *framing.CASES]
ONLY_AIOHTTP_REFUSES = {
    "field: one that says something twice that can be said once",
    "pipelining: one that only aiohttp refuses behind a good one",
}
"""What a front without aiohttp would have to refuse by itself."""
KEY = {"Authorization": "Bearer sk-mine"}


@contextlib.asynccontextmanager
async def own_front(
    replica: ScriptedReplica, kind: type[OwnFront] = OwnFront, *, tasks: bool = False
) -> AsyncIterator[Bench]:
    settings = Settings.model_validate({"balancer": {"port": 0, "slow_start": 0}, "limits": LIMITS})
    rotation = rules.rotation(settings)
    events = Events()
    front = kind(
        rotation=rotation,
        settings=settings,
        events=events,
        health=lambda: made.status(),  # noqa: PLW0108 - it is made below
        tasks=tasks,
    )
    (listening,) = await front.start()
    made = Bench(rotation, cast("Balancer", front), events, [], [], int(listening.rpartition(":")[2]))
    events.subscribe(lambda event: made.seen.append(event) if isinstance(event, RequestFinished) else None)
    await made.add(replica)
    try:
        async with asyncio.timeout(60):
            yield made
    finally:
        for client in made.clients:
            client.leave()
        await front.stop(0)
        await replica.stop()


def test_the_differences_are_cases_of_the_corpus():
    assert {case.name for case in CASES} > ONLY_AIOHTTP_REFUSES


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("case", [case for case in framing.CASES if case.name not in ONLY_AIOHTTP_REFUSES], ids=str)
async def test_each_request_of_the_corpus_ends_as_it_does_in_the_product(case: Case, bytewise: bool, short_dir: Path):
    sent = case.sent
    pieces = [sent[at : at + 1] for at in range(len(sent))] if bytewise and len(sent) < 1500 else [sent]
    recorder = Recorder(short_dir)
    async with own_front(recorder) as b:
        client = await b.connect()
        writing = asyncio.create_task(write(client, pieces))
        heads = sent.lstrip().startswith(b"HEAD ")
        answers = [await final(client.reader, bodiless=heads) for _ in case.statuses]
        await writing
        assert tuple(answer.status for answer in answers) == case.statuses
        if case.closed:
            with contextlib.suppress(ConnectionResetError):
                assert await client.reader.read() == b""
        assert tuple(recorder.seen) == case.seen
        assert [event.status for event in b.seen][: len(case.statuses)] == list(case.statuses)


@pytest.mark.parametrize("tasks", [False, True])
async def test_answers_come_in_the_order_of_the_requests_and_are_counted_once(tasks: bool, short_dir: Path):
    async def echo(call: Call) -> None:
        await call.reply(await call.read_body())

    async with own_front(ScriptedReplica(short_dir, script=echo), tasks=tasks) as b:
        client = await b.connect()
        for number in range(40):
            await client.send("POST", CHAT, KEY, b"%d" % number)
        assert [(await client.answer()).body for _ in range(40)] == [b"%d" % number for number in range(40)]
        assert [event.outcome for event in b.seen] == ["answered"] * 40
        assert b.rotation.in_flight == 0
        assert b.replicas[0].accepted == 1


async def test_a_stream_and_a_long_answer_reach_a_slow_client_whole(short_dir: Path):
    async def stream(call: Call) -> None:
        await call.read_body()
        await call.begin_stream()
        for _ in range(100):
            await call.chunk(b"x" * 100_000)
        await call.send(b"0\r\n\r\n")

    async with own_front(ScriptedReplica(short_dir, script=stream)) as b:
        client = await b.connect()
        client.pause_reading()
        await client.send("POST", CHAT, KEY, b"{}")
        await eventually(lambda: b.rotation.in_flight == 1)
        client.resume_reading()
        assert len((await client.answer()).body) == 10_000_000


async def test_a_client_that_leaves_frees_its_replica(short_dir: Path):
    async def never(call: Call) -> None:
        await call.read_body()
        await asyncio.Event().wait()

    async with own_front(ScriptedReplica(short_dir, script=never)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, KEY, b"{}")
        await eventually(lambda: b.rotation.in_flight == 1)
        client.leave()
        await eventually(lambda: b.rotation.in_flight == 0)
        assert [event.outcome for event in b.seen] == ["client_gone"]


async def test_a_client_without_a_key_gets_the_pools_and_a_page_none(short_dir: Path):
    async with own_front(ScriptedReplica(short_dir)) as b:
        assert b.port
        assert (await b.ask("POST", CHAT, body=b"{}")).start.split()[1] == "200"
        assert (await b.ask("POST", CHAT, {"Origin": "http://evil"}, b"{}")).start.split()[1] == "403"
        assert [request.one("authorization") for request in b.replicas[0].requests] == [f"Bearer {POOL_KEY}"]


@pytest.mark.parametrize("case", [case for case in CASES if case.name not in ONLY_AIOHTTP_REFUSES], ids=str)
async def test_the_fast_lane_lets_in_nothing_more(case: Case, short_dir: Path):
    """After requests that have taught it the lines of which most cases are made."""
    good = POST.replace(b"\r\n", b"\r\nContent-Length: 5\r\n", 1) + b"\r\nhello"
    recorder = Recorder(short_dir)
    async with own_front(recorder, LeanFront) as b:
        client = await b.connect()
        for _ in range(3):
            client.writer.write(good)
            assert (await final(client.reader)).status == 200
        assert len(b.seen) < 3  # what takes the fast lane is only counted
        recorder.seen.clear()
        client.writer.write(case.sent)
        heads = case.sent.lstrip().startswith(b"HEAD ")
        answers = [await final(client.reader, bodiless=heads) for _ in case.statuses]
        assert tuple(answer.status for answer in answers) == case.statuses
        if case.closed:
            with contextlib.suppress(ConnectionResetError):
                assert await client.reader.read() == b""
        assert tuple(recorder.seen) == case.seen


async def test_known_lines_that_contradict_each_other_are_refused_all_the_same(short_dir: Path):
    start, rest = b"POST /v1/embeddings HTTP/1.1\r\n", b"Authorization: Bearer sk-corpus\r\n"
    length, chunked, host = b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: localhost\r\n"
    recorder = Recorder(short_dir)
    async with own_front(recorder, LeanFront) as b:
        client = await b.connect()
        for _ in range(3):
            for good in (host + length + b"\r\nhello", host + chunked + b"\r\n5\r\nhello\r\n0\r\n\r\n"):
                client.writer.write(start + rest + good)
                assert (await final(client.reader)).status == 200
        assert len(b.seen) < 6
        recorder.seen.clear()
        for bad in (host + chunked + length, host + length + length, host + host + length, length):
            hostile = await b.connect()
            hostile.writer.write(start + rest + bad + b"\r\nhello")
            assert (await final(hostile.reader)).status == 400
        assert recorder.seen == []
