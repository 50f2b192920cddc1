"""WebSockets through the balancer: a tunnel, counted like any request."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from tests.eventually import eventually
from tests.loops import on_both_loops, settled
from tests.wire import POOL_KEY, Bench, Call, Client, ScriptedReplica, bench


async def echo(call: Call) -> None:
    """Switches protocols and returns whatever comes, after a first byte of its own."""
    await call.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n>"
    )
    while data := await call.reader.read(2**16):
        await call.send(data)
        if data == b"bye":
            call.hang_up()


UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "abc", "Sec-WebSocket-Version": "13"}


@on_both_loops
async def test_a_websocket_is_a_tunnel(directory: Path):
    async with bench(ScriptedReplica(directory, script=echo)) as b:
        client = await b.connect()
        await client.send("GET", "/v1/realtime?model=m", UPGRADE)
        answer = await client.head()
        assert (answer.status, answer.one("upgrade"), answer.one("sec-websocket-accept")) == (101, "websocket", "x")
        assert await client.reader.readexactly(1) == b">"
        (request,) = b.replicas[0].requests
        assert request.one("connection").lower() == "upgrade"
        assert request.one("sec-websocket-key") == "abc"
        assert request.one("authorization") == f"Bearer {POOL_KEY}"
        blob = bytes(range(256)) * 2**14
        client.writer.write(blob)
        assert await client.reader.readexactly(len(blob)) == blob
        assert b.rotation.in_flight == 1
        client.writer.write(b"bye")
        assert await client.reader.read() == b"bye"
        await eventually(lambda: b.rotation.in_flight == 0, within=2)
        assert (b.seen[0].route, b.seen[0].status, b.seen[0].outcome) == ("realtime", 101, "answered")


@on_both_loops
async def test_a_websocket_client_that_leaves_ends_the_replicas_connection(directory: Path):
    async with bench(ScriptedReplica(directory, script=echo)) as b:
        client = await b.connect()
        await client.send("GET", "/v1/realtime", UPGRADE)
        await client.head()
        client.leave()
        await eventually(lambda: b.replicas[0].open == 0 and b.rotation.in_flight == 0, within=1)


@on_both_loops
async def test_a_websocket_that_is_declined_gets_the_replicas_answer(directory: Path):
    async def decline(call: Call) -> None:
        await call.reply(b"no", status="403 Forbidden")

    async with bench(ScriptedReplica(directory, script=decline)) as b:
        client = await b.connect()
        await client.send("GET", "/v1/realtime", UPGRADE)
        answer = await client.answer()
        assert (answer.status, answer.body) == (403, b"no")
        # Where it was sent they may speak another protocol by now, so the next request goes elsewhere.
        await eventually(lambda: b.replicas[0].open == 0, within=2)
        assert (await client.ask("GET", "/v1/models")).status == 403
        assert b.replicas[0].accepted == 2


@on_both_loops
async def test_a_page_cannot_open_a_websocket_without_a_key(directory: Path):
    async with bench(ScriptedReplica(directory, script=echo)) as b:
        client = await b.connect()
        await client.send("GET", "/v1/realtime", {**UPGRADE, "Origin": "https://evil.example"})
        assert (await client.answer()).status == 403
        assert not b.replicas[0].requests


@on_both_loops
async def test_a_replica_that_does_not_read_its_websocket_makes_the_client_wait(directory: Path):
    go = asyncio.Event()

    async def stuck(call: Call) -> None:
        await call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await go.wait()
        while await call.reader.read(2**20):
            pass

    async with bench(ScriptedReplica(directory, script=stuck)) as b:
        client = await b.connect()
        await client.send("GET", "/v1/realtime", UPGRADE)
        await client.head()
        written = 0

        async def write() -> None:
            nonlocal written
            for _ in range(64):
                client.writer.write(b"x" * 2**20)
                await client.writer.drain()
                written += 1

        writing = asyncio.create_task(write())
        await settled(lambda: written)
        assert written < 32
        go.set()
        await writing


async def open_tunnel(b: Bench) -> Client:
    client = await b.connect()
    await client.send("GET", "/v1/realtime", UPGRADE)
    assert (await client.head()).status == 101
    assert await client.reader.readexactly(1) == b">"
    return client


@on_both_loops
async def test_a_replica_that_dies_ends_its_websockets_and_no_others(directory: Path):
    async with bench(ScriptedReplica(directory, 0, echo), ScriptedReplica(directory, 1, echo)) as b:
        clients = [await open_tunnel(b), await open_tunnel(b)]
        await b.replicas[0].stop()
        b.rotation.remove(b.replicas[0].upstream.replica)
        with contextlib.suppress(ConnectionError):
            assert await clients[0].reader.read() == b""
        clients[1].writer.write(b"still here")
        assert await clients[1].reader.readexactly(10) == b"still here"
        await eventually(lambda: b.rotation.in_flight == 1 and b.replicas[0].upstream.in_flight == 0, within=2)


@on_both_loops
async def test_a_websocket_goes_on_while_its_replica_drains_and_holds_it_until_it_ends(directory: Path):
    async with bench(ScriptedReplica(directory, script=echo)) as b:
        client = await open_tunnel(b)
        replica = b.replicas[0].upstream.replica
        b.rotation.drain(replica)
        idle = asyncio.create_task(b.rotation.wait_idle(replica))
        client.writer.write(b"go on")
        assert await client.reader.readexactly(5) == b"go on"
        assert not idle.done()
        client.writer.write(b"bye")
        assert await client.reader.read() == b"bye"
        await asyncio.wait_for(idle, 5)


@on_both_loops
async def test_a_stop_lets_a_websocket_go_on_for_the_drain_and_then_ends_both_sides(directory: Path):
    async with bench(ScriptedReplica(directory, script=echo)) as b:
        client = await open_tunnel(b)
        stopping = asyncio.create_task(b.balancer.stop(1.0))
        await eventually(b.balancer._stopping.is_set, within=5)
        client.writer.write(b"last words")
        assert await client.reader.readexactly(10) == b"last words"
        with contextlib.suppress(ConnectionError):
            assert await client.reader.read() == b""
        await stopping
        await eventually(lambda: b.replicas[0].open == 0 and b.rotation.in_flight == 0, within=5)
        assert [(event.route, event.outcome) for event in b.seen] == [("realtime", "cut")]


@on_both_loops
async def test_a_stop_that_is_in_a_hurry_does_not_wait_for_a_websocket(directory: Path):
    async with bench(ScriptedReplica(directory, script=echo)) as b:
        client = await open_tunnel(b)
        stopping = asyncio.create_task(b.balancer.stop(600.0))
        await eventually(b.balancer._stopping.is_set, within=5)
        stopping.cancel()  # as the daemon does at the second signal
        await asyncio.wait([stopping])
        await asyncio.wait_for(b.balancer.stop(0.0), 10)
        with contextlib.suppress(ConnectionError):
            assert await client.reader.read() == b""
        await eventually(lambda: b.replicas[0].open == 0 and b.rotation.in_flight == 0, within=5)
