"""One client's connection: what happens between its requests, behind them and at its end, under asyncio and uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import NoReturn

import pytest

from supervisor.balancer import attempt, front
from supervisor.balancer.front import AT_ONCE, LINGERING, MOST_HELD, READ_AHEAD, ClientConnection
from supervisor.balancer.reading import Readings
from supervisor.balancer.upstream import Connection
from supervisor.rotation import Rotation, Upstream
from tests.eventually import eventually
from tests.http.bench import complaints, no_complaints
from tests.loops import on_both_loops, settled
from tests.wire import CHAT, Bench, Call, Client, ScriptedReplica, bench, read_chunk

KEY = {"Authorization": "Bearer sk-1"}
HEALTH = b"GET /health/liveliness HTTP/1.1\r\nHost: localhost\r\n\r\n"
NO_KEY = b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\n"
"""What is refused with a 401, as the pool's key is for inference only."""


def little_room(sock: socket.socket, size: int = 4096) -> None:
    """In the kernel, so that it is soon full."""
    for side in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, side, size)


def only(b: Bench) -> ClientConnection:
    """The one connection there is."""
    (connection,) = b.balancer._house.crowd.all()
    return connection


@on_both_loops
async def test_more_requests_than_are_begun_at_once_are_answered_all_the_same(directory: Path):
    async with no_complaints(), bench(ScriptedReplica(directory)) as b:
        client = await b.connect()
        count = 5 * AT_ONCE
        client.writer.write(HEALTH * count)
        assert [(await client.answer()).status for _ in range(count)] == [200] * count
        assert (await client.ask("POST", CHAT, KEY, b"{}")).status == 200


@on_both_loops
async def test_who_asks_and_asks_and_reads_no_answer_is_not_read_from(directory: Path):
    async with no_complaints(), bench(ScriptedReplica(directory)) as b:
        client = await b.connect()
        client.pause_reading()
        await eventually(lambda: len(b.balancer._house.crowd) == 1, within=5)
        transport = only(b).transport
        assert transport is not None
        for end in (client.writer, transport):
            little_room(end.get_extra_info("socket"), 2**18)
        written = 0

        async def ask() -> None:
            nonlocal written
            for _ in range(2000):
                client.writer.write(HEALTH * 100)
                await client.writer.drain()
                written += 100

        asking = asyncio.create_task(ask())
        await eventually(lambda: not transport.is_reading(), within=30)
        assert not asking.done()
        assert transport.get_write_buffer_size() < 2**20
        client.resume_reading()
        for _ in range(written):
            assert (await client.answer()).status == 200
        asking.cancel()


@on_both_loops
async def test_a_request_behind_the_one_at_work_waits_and_nothing_more_is_read(directory: Path):
    gate = asyncio.Event()

    async def wait(call: Call) -> None:
        body = await call.read_body()
        await gate.wait()
        await call.reply(body)

    async with no_complaints(), bench(ScriptedReplica(directory, script=wait), limits={"head_timeout": 0.3}) as b:
        client = await b.connect()
        for body in (b"first", b"second"):
            await client.send("POST", CHAT, KEY, body)
        client.writer.write(HEALTH[:20])  # half a head, which has no deadline while nobody would read the rest
        await eventually(lambda: len(b.replicas[0].requests) == 1, within=5)
        await eventually(lambda: not only(b).transport.is_reading(), within=5)  # type: ignore[union-attr]
        await asyncio.sleep(0.5)
        assert len(b.replicas[0].requests) == 1
        gate.set()
        assert [(await client.answer()).body for _ in range(2)] == [b"first", b"second"]
        client.writer.write(HEALTH[20:])
        assert (await client.answer()).status == 200


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
async def test_the_rest_of_a_body_that_was_refused_is_thrown_away_and_the_next_request_served(directory: Path):
    async with no_complaints(), bench(ScriptedReplica(directory)) as b:
        client = await b.connect()
        for framing, body in (
            (b"Content-Length: 1000000\r\n\r\n", b"x" * 1_000_000),
            (b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"y" * 65536 + b"\r\n0\r\n\r\n"),
        ):
            client.writer.write(NO_KEY + framing + body[:1000])
            answer = await client.answer()
            assert (answer.status, answer.all("connection")) == (401, [])
            client.writer.write(body[1000:] + HEALTH)
            assert (await client.answer()).status == 200
        assert b.replicas[0].accepted == 0


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
async def test_a_body_is_read_ahead_only_so_far_while_nobody_takes_it(directory: Path):
    async with no_complaints(), bench() as b:
        client = await b.connect()
        await client.send("POST", "/v1/files", {**KEY, "Content-Length": str(2**24)})
        client.writer.write(b"x" * 2**24)
        await eventually(lambda: b.rotation.waiting == 1, within=5)
        await eventually(lambda: not only(b).transport.is_reading(), within=5)  # type: ignore[union-attr]
        message = only(b)._message
        assert message is not None
        assert READ_AHEAD < message.unread < READ_AHEAD + 2**19


@on_both_loops
async def test_what_comes_early_for_a_websocket_is_kept_however_much_it_is(directory: Path):
    gate = asyncio.Event()

    async def echo(call: Call) -> None:
        await gate.wait()
        await call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := await call.reader.read(2**16):
            await call.send(data)

    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", **KEY}
    async with no_complaints(), bench(ScriptedReplica(directory, script=echo)) as b:
        client = await b.connect()
        await client.send("GET", "/v1/realtime", upgrade)
        blob = bytes(range(256)) * (MOST_HELD // 64)
        client.writer.write(blob)
        await eventually(lambda: only(b)._guard.held > MOST_HELD, within=5)
        transport = only(b).transport
        assert transport is not None
        assert not transport.is_reading()
        gate.set()
        assert (await client.head()).status == 101
        assert await client.reader.readexactly(len(blob)) == blob


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


@on_both_loops
async def test_websocket_requests_that_are_refused_can_follow_each_other_without_end(directory: Path):
    upgrade = (
        b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nOrigin: https://elsewhere.example\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    async with no_complaints(), bench(ScriptedReplica(directory)) as b:
        client = await b.connect()
        count = 1000
        client.writer.write(upgrade * count + HEALTH)
        assert [(await client.answer()).status for _ in range(count)] == [403] * count
        assert (await client.answer()).status == 200


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
async def test_a_body_that_turns_out_to_be_none_while_a_replica_is_connected_to_leaves_no_connection(directory: Path):
    async with no_complaints(), bench(ScriptedReplica(directory)) as b:
        connect = b.balancer._pool.connect
        client = await b.connect()

        async def connect_slowly(upstream: Upstream) -> Connection:
            client.writer.write(b"nonsense\r\n")
            message = only(b)._message
            assert message is not None
            await eventually(lambda: message.refusal is not None, within=5)
            return await connect(upstream)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(b.balancer._pool, "connect", connect_slowly)
            client.writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-1\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            assert (await client.answer()).status == 400
        await eventually(lambda: b.replicas[0].accepted == 1 and b.replicas[0].open == 0, within=5)


DEFECTS: tuple[tuple[object, str], ...] = ((Readings, "of"), (Rotation, "take"), (attempt, "response_head"))
"""Where one shows before a request begins, before it is sent, and when it has been answered."""


@on_both_loops
async def test_a_defect_of_ours_is_a_500_and_a_line_in_the_log(directory: Path):
    def fail(*args: object, **named: object) -> NoReturn:
        raise RuntimeError("defect")

    for whole in (True, False):
        async with complaints() as said, bench(ScriptedReplica(directory)) as b:
            assert (await b.ask("POST", CHAT, KEY, b"{}")).status == 200
            for owner, name in DEFECTS:
                client = await b.connect()
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(owner, name, fail)
                    await client.send("POST", CHAT, {**KEY, "Content-Length": "2"}, b"{}" if whole else b"{")
                    if not whole:
                        client.writer.write(b"}")
                    answer = await client.answer()
                assert (answer.status, answer.json()["error"]["code"]) == (500, "internal_error")
                assert b.rotation.in_flight == b.balancer.snapshot().in_flight == 0
                assert b.seen[-1].outcome == "unavailable"
                if owner is not Readings:
                    assert (await client.ask("POST", CHAT, KEY, b"{}")).status == 200
            assert len(said.seen) == len(DEFECTS)
            assert all("could not be handled" in line for line in said.seen)
