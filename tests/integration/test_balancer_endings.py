"""How one client's connection ends: who leaves, who takes nothing, a stop; each promise under asyncio and uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from supervisor.balancer import front
from supervisor.balancer.front import LINGERING
from tests.eventually import eventually
from tests.http.bench import no_complaints
from tests.loops import on_both_loops, settled
from tests.wire import (
    CHAT,
    HEALTH,
    KEY,
    NO_KEY,
    Bench,
    Call,
    Client,
    ScriptedReplica,
    bench,
    little_room,
    only,
    read_chunk,
)


@on_both_loops
async def test_who_leaves_with_a_request_in_line_is_missed(directory: Path):
    async with no_complaints(), bench() as b:
        client = await b.connect()
        for _ in range(2):
            await client.send("POST", CHAT, KEY, b"{}")
        await eventually(lambda: b.rotation.waiting == 1 and not only(b).transport.is_reading(), within=5)  # type: ignore[union-attr]
        client.leave()
        await eventually(lambda: b.rotation.waiting == 0, within=1)
        assert [event.outcome for event in b.seen] == ["client_gone"]
        assert len(b.balancer._house.crowd) == 0


@on_both_loops
async def test_the_rest_of_a_body_that_does_not_come_ends_the_connection(directory: Path):
    async with no_complaints(), bench(ScriptedReplica(directory)) as b:
        for framing in (b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\n"):
            client = await b.connect()
            client.writer.write(NO_KEY + framing)
            assert (await client.answer()).status == 401
            connection = only(b)
            assert connection._alarm._at <= asyncio.get_running_loop().time() + LINGERING
            connection._time_is_up()  # now, for a reset that comes with an answer hides it from who reads by streams
            with contextlib.suppress(ConnectionError):
                assert await client.reader.read() == b""
            await eventually(lambda: len(b.balancer._house.crowd) == 0, within=5)


@on_both_loops
async def test_the_rest_of_a_body_that_is_none_ends_the_connection(directory: Path):
    async with no_complaints(), bench(ScriptedReplica(directory)) as b:
        client = await b.connect()
        client.writer.write(NO_KEY + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel")
        assert (await client.answer()).status == 401
        client.writer.write(b"lo\r\nnonsense\r\n" + HEALTH)
        await eventually(lambda: only(b)._state is front.LEAVING, within=30)
        assert await client.reader.read() == b""
        assert len(b.seen) == 1


@on_both_loops
async def test_an_early_refusal_is_not_overtaken_by_a_reset(directory: Path):
    async with no_complaints(), bench(ScriptedReplica(directory), limits={"body_bytes": 1000}) as b:
        for _ in range(20):
            client = await b.connect()
            client.writer.write(NO_KEY + b"Content-Length: 3000000\r\n\r\n" + b"x" * 3_000_000)
            answer = await client.answer()
            assert (answer.status, answer.one("connection")) == (413, "close")
            assert await client.reader.read() == b""


@on_both_loops
async def test_who_takes_nothing_of_his_answers_is_let_go(directory: Path):
    async def much(call: Call) -> None:
        await call.read_body()
        await call.reply(b"x" * 100_000)

    async with bench(ScriptedReplica(directory, script=much), balancer={"response_timeout": 0.5}) as b:
        client = await b.connect()
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.pause_reading()
        for _ in range(200):
            await client.send("POST", CHAT, KEY, b"{}")
        await eventually(lambda: b.rotation.in_flight == 0 and len(b.balancer._house.crowd) == 0, within=20)


@on_both_loops
async def test_an_answer_that_ends_with_its_connection_does_not_look_whole_when_a_stop_cuts_it(directory: Path):
    async def stream(call: Call) -> None:
        await call.begin_stream()
        await call.chunk(b"data: x\n\n")
        await asyncio.Event().wait()

    async with no_complaints(), bench(ScriptedReplica(directory, script=stream)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, KEY, b"{}", version="1.0")
        assert (await client.head()).one("connection") == "close"
        assert await client.reader.readexactly(9) == b"data: x\n\n"
        await b.balancer.stop(0.0)
        with pytest.raises(ConnectionError):
            await client.reader.read()
        assert [event.outcome for event in b.seen] == ["cut"]


@on_both_loops
async def test_a_request_that_is_cut_before_its_task_has_begun_is_over_too(directory: Path):
    async with no_complaints(), bench() as b:
        client = await b.connect()
        await eventually(lambda: len(b.balancer._house.crowd) == 1, within=5)
        connection = only(b)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
        connection.data_received(head)
        connection.cut()
        await eventually(lambda: len(b.seen) == 1, within=5)
        assert b.balancer.snapshot().in_flight == 0
        assert not b.balancer._house.crowd.at_work
        with contextlib.suppress(ConnectionError):
            assert await client.reader.read() == b""


@on_both_loops
async def test_a_request_that_has_been_sent_and_whose_client_leaves_holds_nothing(directory: Path):
    async def silent(call: Call) -> None:
        await call.read_body()
        await call.reader.read()

    async def quick(call: Call) -> None:
        await call.read_body()
        await call.reply()

    async with no_complaints(), bench(ScriptedReplica(directory, script=quick)) as b:
        assert (await b.ask("POST", CHAT, KEY, b"{}")).status == 200  # the next one finds an idle connection
        b.replicas[0].script = silent
        client = await b.connect()
        await client.send("POST", CHAT, KEY, b'{"a": 1}')
        await eventually(lambda: b.rotation.in_flight == 1, within=5)
        assert only(b)._exchange._task is None  # type: ignore[union-attr]
        assert b.balancer.snapshot().held_bytes == 8
        client.leave()
        await eventually(lambda: b.rotation.in_flight == 0 and b.replicas[0].open == 0, within=1)
        assert b.balancer.snapshot().held_bytes == 0
        assert not b.replicas[0].upstream.unanswered
        assert [event.outcome for event in b.seen] == ["answered", "client_gone"]


async def taking_nothing(b: Bench, *, until: int) -> tuple[Client, int]:
    """A client that has read none of its answers, how many these are, of which at least that many bytes still wait."""
    client = await b.connect()
    client.pause_reading()
    await eventually(lambda: len(b.balancer._house.crowd) == 1, within=5)
    connection = only(b)
    transport = connection.transport
    assert transport is not None
    for end in (client.writer, transport):
        little_room(end.get_extra_info("socket"))
    while transport.get_write_buffer_size() < until and not connection.writing_paused:
        while transport.get_write_buffer_size() < until and not connection.writing_paused:
            connection.data_received(HEALTH)
        await settled(transport.get_write_buffer_size)
    return client, len(b.seen)


@on_both_loops
async def test_half_a_head_of_a_client_that_takes_no_answer_does_not_keep_its_connection_open(directory: Path):
    limits = {"limits": {"head_timeout": 0.2}, "balancer": {"response_timeout": 0.5}}
    async with no_complaints(), bench(ScriptedReplica(directory), **limits) as b:
        await taking_nothing(b, until=2**20)
        assert only(b).writing_paused
        only(b).data_received(HEALTH[:20])
        await eventually(lambda: len(b.balancer._house.crowd) == 0, within=10)


@on_both_loops
async def test_a_client_that_reads_slowly_gets_all_of_its_last_answer_though_it_had_more_to_send(directory: Path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(front, "LINGERING", 0.2)
        async with no_complaints(), bench(ScriptedReplica(directory), limits={"body_bytes": 1000}) as b:
            client, answers = await taking_nothing(b, until=2**14)
            connection = only(b)
            assert not connection.writing_paused
            connection.data_received(NO_KEY + b"Content-Length: 3000\r\n\r\n")
            assert connection._state is front.LEAVING
            transport = connection.transport
            assert transport is not None
            await eventually(transport.is_closing, within=5)
            client.resume_reading()
            assert [(await client.answer()).status for _ in range(answers + 1)] == [200] * answers + [413]


@on_both_loops
async def test_a_request_behind_an_answer_that_a_stop_waits_for_is_answered_too(directory: Path):
    gate = asyncio.Event()

    async def stream(call: Call) -> None:
        await call.read_body()
        await call.begin_stream()
        await call.chunk(b"data: x\n\n")
        await gate.wait()
        await call.send(b"0\r\n\r\n")

    async with no_complaints(), bench(ScriptedReplica(directory, script=stream)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, KEY, b"{}")
        await client.send("POST", CHAT, KEY, b"{}")
        assert (await client.head()).all("connection") == []
        stopping = asyncio.create_task(b.balancer.stop(20.0))
        await eventually(b.balancer._stopping.is_set, within=5)
        gate.set()
        assert await read_chunk(client.reader) == b"data: x\n\n"
        assert await read_chunk(client.reader) == b""
        last = await client.answer()
        assert (last.status, last.one("connection"), last.body) == (200, "close", b"data: x\n\n")
        await stopping
        assert [event.outcome for event in b.seen] == ["answered", "answered"]


@on_both_loops
async def test_a_stop_waits_until_clients_have_taken_their_answers(directory: Path):
    async with no_complaints(), bench(ScriptedReplica(directory)) as b:
        client, answers = await taking_nothing(b, until=2**14)
        stopping = asyncio.create_task(b.balancer.stop(20.0))
        assert not (await asyncio.wait([stopping], timeout=0.3))[0]
        client.resume_reading()
        assert [(await client.answer()).status for _ in range(answers)] == [200] * answers
        await stopping
        assert b.balancer.snapshot().clients == 0


@on_both_loops
async def test_a_stop_does_not_make_a_reset_overtake_a_refusal(directory: Path):
    async with no_complaints(), bench(ScriptedReplica(directory)) as b:
        client = await b.connect()
        client.writer.write(NO_KEY + b"Content-Length: 3000000\r\n\r\n" + b"x" * 100)
        await eventually(lambda: len(b.seen) == 1, within=5)
        assert only(b)._state is front.REST
        stopping = asyncio.create_task(b.balancer.stop(20.0))
        await eventually(b.balancer._stopping.is_set, within=5)
        client.writer.write(b"x" * 2_000_000)
        await client.writer.drain()
        assert (await client.answer()).status == 401
        assert await client.reader.read() == b""
        client.leave()
        await stopping


@on_both_loops
async def test_who_comes_in_at_the_moment_of_a_stop_does_not_outlast_it(directory: Path):
    async with no_complaints(), bench(ScriptedReplica(directory)) as b:
        with socket.create_connection(("127.0.0.1", b.port)):
            b.balancer._doors[0]._let_in()
            await b.balancer.stop(5.0)
            for _ in range(20):
                assert b.balancer.snapshot().clients == 0
                await asyncio.sleep(0)


@on_both_loops
async def test_a_client_that_takes_no_more_of_an_answer_that_ends_with_its_connection_sees_it_cut(directory: Path):
    async def stream(call: Call) -> None:
        await call.begin_stream()
        with contextlib.suppress(ConnectionError):
            while True:
                await call.chunk(b"data: x\n\n" * 1000)

    replica = ScriptedReplica(directory, script=stream)
    async with no_complaints(), bench(replica, balancer={"response_timeout": 0.3}) as b:
        client = await b.connect()
        await client.send("POST", CHAT, KEY, b"{}", version="1.0")
        client.pause_reading()
        await eventually(lambda: len(b.seen) == 1, within=20)
        client.resume_reading()
        with pytest.raises(ConnectionError):
            await client.reader.read()


@on_both_loops
async def test_the_answer_to_a_last_request_is_not_overtaken_by_a_reset_though_more_comes_behind_it(directory: Path):
    async with no_complaints(), bench(ScriptedReplica(directory)) as b:
        client = await b.connect()
        client.pause_reading()
        await client.send("GET", "/health/liveliness", {"Connection": "close"})
        await eventually(lambda: len(b.seen) == 1, within=20)
        for _ in range(3):
            client.writer.write(b"what nobody asked for")
            await asyncio.sleep(0.05)  # a reset would come
        client.resume_reading()
        assert (await client.answer()).status == 200
        assert await client.reader.read() == b""
        client.writer.close()
        await eventually(lambda: len(b.balancer._house.crowd) == 0, within=20)
