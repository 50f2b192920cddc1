"""One client's connection: what happens between its requests and behind them, under asyncio and uvloop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NoReturn

import pytest

from supervisor.balancer import attempt
from supervisor.balancer.front import AT_ONCE, MOST_HELD, READ_AHEAD
from supervisor.balancer.reading import Readings
from supervisor.balancer.upstream import Connection
from supervisor.rotation import Rotation, Upstream
from tests.eventually import eventually
from tests.http.bench import complaints, no_complaints
from tests.loops import on_both_loops
from tests.wire import CHAT, HEALTH, KEY, NO_KEY, Call, ScriptedReplica, bench, little_room, only


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


@on_both_loops
async def test_behind_the_body_of_a_websocket_request_that_was_refused_early_the_next_one_is_served(directory: Path):
    upgrade = (
        b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nOrigin: https://elsewhere.example\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 10\r\n\r\n"
    )
    async with no_complaints(), bench(ScriptedReplica(directory)) as b:
        client = await b.connect()
        client.writer.write(upgrade + b"12345")
        assert (await client.answer()).status == 403
        client.writer.write(b"67890" + HEALTH)
        assert (await client.answer()).status == 200


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
