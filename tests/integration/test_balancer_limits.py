"""What one client may ask of the port: time for a head and a body, and a place; each promise under asyncio and uvloop."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from tests.eventually import eventually
from tests.http.bench import Answer, Recorder, no_complaints
from tests.http.corpus.case import Seen
from tests.loops import on_both_loops
from tests.wire import CHAT, KEY, Bench, Call, Client, ScriptedReplica, bench

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"


async def drip(client: Client, data: bytes, *, every: float) -> None:
    with contextlib.suppress(ConnectionError):
        for at in range(len(data)):
            client.writer.write(data[at : at + 1])
            await asyncio.sleep(every)


@on_both_loops
async def test_a_head_that_does_not_end_is_a_408_however_steadily_it_comes(directory: Path):
    async with no_complaints(), bench(ScriptedReplica(directory), limits={"head_timeout": 0.4}) as b:
        for data, every in ((HEAD, 0.0), (HEAD + b"X-A: " + b"b" * 5000, 0.02)):
            client = await b.connect()
            dripping = asyncio.create_task(drip(client, data, every=every))
            answer = await client.answer()
            assert (answer.status, answer.json()["error"]["code"]) == (408, "header_timeout")
            assert answer.one("connection") == "close"
            assert await client.reader.read() == b""
            dripping.cancel()
        assert [(event.status, event.outcome) for event in b.seen] == [(408, "refused")] * 2
        # Nobody else waits for them.
        assert (await b.ask("GET", "/health/liveliness")).status == 200


@on_both_loops
async def test_a_head_in_time_has_no_deadline_left_over(directory: Path):
    gate = asyncio.Event()

    async def wait(call: Call) -> None:
        await gate.wait()
        await call.reply(b"{}")

    async with bench(ScriptedReplica(directory, script=wait), limits={"head_timeout": 0.2}) as b:
        client = await b.connect()
        client.writer.write(HEAD)
        await eventually(lambda: len(b.balancer._house.crowd) == 1, within=5)
        client.writer.write(b"Content-Length: 0\r\n\r\n")
        await eventually(lambda: b.rotation.in_flight == 1, within=5)
        await asyncio.sleep(0.4)  # the deadline passes, and has to be none
        gate.set()
        assert (await client.answer()).status == 200


@on_both_loops
async def test_a_connection_without_a_request_is_closed_after_its_time(directory: Path):
    async with bench(ScriptedReplica(directory), balancer={"keepalive_timeout": 0.3}) as b:
        fresh, used = await b.connect(), await b.connect()
        assert (await used.ask("GET", "/v1/models", KEY)).status == 200
        for client in (fresh, used):
            assert await asyncio.wait_for(client.reader.read(), 10) == b""
        assert len(b.seen) == 1


@on_both_loops
async def test_a_body_has_to_make_progress(directory: Path):
    async with no_complaints(), bench(ScriptedReplica(directory), limits={"body_timeout": 0.4}) as b:
        for framing in (b"Content-Length: 500\r\n", b"Content-Length: 5000000\r\n", b"Transfer-Encoding: chunked\r\n"):
            client = await b.connect()
            client.writer.write(HEAD + framing + b"\r\n")
            dripping = asyncio.create_task(drip(client, b"1\r\nx\r\n" * 100, every=0.02))
            answer = await client.answer()
            assert (answer.status, answer.json()["error"]["code"]) == (408, "body_timeout")
            assert answer.one("connection") == "close"
            assert await client.reader.read() == b""
            dripping.cancel()
        await eventually(lambda: b.rotation.in_flight == 0 and b.replicas[0].open == 0, within=5)


@on_both_loops
async def test_a_slow_body_that_makes_progress_is_waited_for(directory: Path):
    async with bench(ScriptedReplica(directory), limits={"body_timeout": 1.0}) as b:
        client = await b.connect()
        client.writer.write(HEAD + b"Content-Length: 20480\r\n\r\n")
        for _ in range(10):
            client.writer.write(b"x" * 2048)
            await asyncio.sleep(0.15)
        assert (await client.answer()).status == 200
        assert len(b.replicas[0].requests[0].body) == 20480


def holding(gate: asyncio.Event) -> Answer:
    async def answer(writer: asyncio.StreamWriter, seen: Seen) -> None:
        await gate.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    return answer


async def at_work(b: Bench, count: int) -> list[Client]:
    clients = []
    for number in range(count):
        client = await b.connect()
        await client.send("POST", CHAT, body=b"{}")
        await eventually(lambda wanted=number + 1: b.rotation.in_flight == wanted, within=5)
        clients.append(client)
    return clients


@on_both_loops
async def test_when_all_places_are_taken_the_one_longest_without_a_request_makes_room(directory: Path):
    async with no_complaints(), bench(ScriptedReplica(directory), limits={"connections": 3}) as b:
        first, second, third = [await b.connect() for _ in range(3)]
        await eventually(lambda: len(b.balancer._house.crowd) == 3, within=5)
        assert (await first.ask("GET", "/v1/models", KEY)).status == 200
        fourth = await b.connect()
        assert (await fourth.ask("GET", "/v1/models", KEY)).status == 200
        assert await second.reader.read() == b""
        for client in (first, third, fourth):
            assert (await client.ask("GET", "/v1/models", KEY)).status == 200


@on_both_loops
async def test_slow_heads_keep_nobody_out(directory: Path):
    async with no_complaints(), bench(ScriptedReplica(directory), limits={"connections": 5}) as b:
        for _ in range(20):
            client = await b.connect()
            client.writer.write(HEAD)
        for _ in range(5):
            assert (await b.ask("GET", "/v1/models", KEY)).status == 200


@on_both_loops
async def test_when_all_are_at_work_a_newcomer_gets_503_and_health_is_answered(directory: Path):
    gate = asyncio.Event()
    async with no_complaints(), bench(Recorder(directory, answer=holding(gate)), limits={"connections": 3}) as b:
        clients = await at_work(b, 3)
        refused = await b.ask("POST", CHAT, body=b"{}")
        assert (refused.status, refused.json()["error"]["code"]) == (503, "too_many_connections")
        assert (refused.one("connection"), refused.one("x-should-retry")) == ("close", "true")
        assert int(refused.one("retry-after")) >= 1
        health = await b.ask("GET", "/health/liveliness")
        assert (health.status, health.one("connection")) == (200, "close")
        gate.set()
        for client in clients:
            assert (await client.answer()).status == 200
        assert (await b.ask("POST", CHAT, body=b"{}")).status == 200


@on_both_loops
async def test_nobody_gets_to_a_replica_from_a_standing_place_and_others_keep_their_connections(directory: Path):
    gate = asyncio.Event()
    async with no_complaints(), bench(Recorder(directory, answer=holding(gate)), limits={"connections": 1}) as b:
        (client,) = await at_work(b, 1)
        for target in ("/health", "/%68ealth", "/health/liveliness?", "/v1/models"):
            answer = await b.ask("GET", target, KEY)
            assert answer.status == (200 if target.startswith("/health/") else 503)
            assert answer.one("connection") == "close"
        assert (await b.ask("GET", "/health")).status == 200
        gate.set()
        assert (await client.answer()).status == 200
        assert (await client.ask("GET", "/v1/models", KEY)).status == 200
        assert (await client.ask("GET", "/v1/models", KEY)).status == 200
        assert sum(1 for event in b.seen if event.slot is not None) == 3


@on_both_loops
async def test_who_makes_room_is_gone_also_when_it_does_not_read(directory: Path):
    async with bench(ScriptedReplica(directory), limits={"connections": 1}) as b:
        deaf = await b.connect()
        deaf.pause_reading()
        await eventually(lambda: len(b.balancer._house.crowd) == 1, within=5)
        (connection,) = b.balancer._house.crowd._seated
        transport = connection.transport
        assert transport is not None
        # What is left of an answer that the client does not take.
        transport.write(b"x" * 50_000_000)
        assert (await b.ask("GET", "/v1/models", KEY)).status == 200
        await eventually(lambda: connection.transport is None, within=10)


@on_both_loops
async def test_even_the_standing_places_have_an_end_and_are_given_back(directory: Path):
    gate = asyncio.Event()
    limits = {"connections": 1, "head_timeout": 0.5}
    async with no_complaints(), bench(Recorder(directory, answer=holding(gate)), limits=limits) as b:
        (client,) = await at_work(b, 1)
        silent = [await b.connect() for _ in range(40)]
        ended = [asyncio.create_task(one.reader.read()) for one in silent]
        await asyncio.wait(ended, timeout=20)
        assert all(task.done() for task in ended)  # some at once, the others when they had said nothing for too long
        for task in ended:
            with contextlib.suppress(ConnectionError):
                assert task.result() == b""
        assert b.balancer.snapshot().turned_away == 40 - 32
        assert (await b.ask("GET", "/health/liveliness")).status == 200
        gate.set()
        assert (await client.answer()).status == 200


@on_both_loops
async def test_one_address_can_be_kept_from_taking_all_places(directory: Path):
    limits = {"connections": 10, "connections_per_address": 2}
    async with bench(ScriptedReplica(directory), limits=limits) as b:
        first, second = await b.connect(), await b.connect()
        for client in (first, second):
            assert (await client.ask("GET", "/v1/models", KEY)).status == 200
        assert (await b.ask("GET", "/v1/models", KEY)).status == 503
        first.leave()
        await eventually(lambda: len(b.balancer._house.crowd) == 1, within=5)
        assert (await b.ask("GET", "/v1/models", KEY)).status == 200


@on_both_loops
async def test_a_thousand_silent_connections_keep_nobody_waiting(directory: Path):
    async with no_complaints(), bench(ScriptedReplica(directory)) as b:
        for _ in range(20):
            await asyncio.gather(*(b.connect() for _ in range(50)))
        await eventually(lambda: len(b.balancer._house.crowd) == 1000, within=20)
        async with asyncio.timeout(10):
            for _ in range(20):
                assert (await b.ask("GET", "/v1/models", KEY)).status == 200
                assert (await b.ask("GET", "/health/liveliness")).status == 200
