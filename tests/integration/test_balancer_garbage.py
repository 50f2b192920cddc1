"""A request leaves nothing for the garbage collector: its objects end with it, and nobody has to look for them.

What fails leaves nothing either: a body that is held by what holds each other is memory that nobody counts any more.
"""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from supervisor.fleet.probe import LivenessProbe
from tests.eventually import eventually
from tests.loops import on_both_loops
from tests.wire import CHAT, Bench, Call, ScriptedReplica, bench, die

UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "abc", "Sec-WebSocket-Version": "13"}


@contextlib.asynccontextmanager
async def nothing_left(b: Bench) -> AsyncIterator[None]:
    """Of what ends within the block nothing has to be looked for. Only the balancer's: the ends of the tests are
    asyncio's own streams.
    """
    gc.collect()
    gc.disable()
    try:
        yield
        for client in b.clients:
            client.leave()
        await eventually(lambda: b.rotation.in_flight == 0 and b.balancer.snapshot().clients == 0, within=20)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
        frames = {each.f_code.co_qualname for each in gc.garbage if hasattr(each, "f_code")}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    ours = {name: count for name, count in found.items() if name.startswith("supervisor.")}
    assert ours == {}, f"and these were under way: {frames}"


async def read_on(call: Call) -> None:
    await call.reader.read()


async def answer(call: Call) -> None:
    await call.read_body()
    if b"stream" not in call.request.body:
        await call.reply(b"{}")
        return
    await call.begin_stream()
    for _ in range(3):
        await call.chunk(b"data: x\n\n")
    await call.send(b"0\r\n\r\n")


@on_both_loops
async def test_neither_an_answer_nor_a_stream_nor_a_client_that_leaves_makes_garbage(directory: Path):
    async with bench(ScriptedReplica(directory, script=answer)) as b:
        client = await b.connect()
        await client.ask("POST", CHAT, body=b"{}")
        async with nothing_left(b):
            for body in (b"{}", b'{"stream": true}') * 10:
                assert (await client.ask("POST", CHAT, body=body)).status == 200
            other = await b.connect()
            await other.send("POST", CHAT, body=b'{"stream": true}')


@on_both_loops
async def test_a_client_that_leaves_before_its_answer_makes_no_garbage(directory: Path):
    async with bench(ScriptedReplica(directory, script=read_on)) as b:
        async with nothing_left(b):
            await (await b.connect()).send("POST", CHAT, body=b"{}")
            await eventually(lambda: b.replicas[0].accepted == 1, within=20)


@on_both_loops
async def test_a_client_that_leaves_amid_its_upload_makes_no_garbage(directory: Path):
    """What has come of the body goes at once, and not when somebody looks."""

    async with bench(ScriptedReplica(directory, script=read_on)) as b:
        async with nothing_left(b):
            for count in range(1, 4):
                client = await b.connect()
                await client.send("POST", CHAT, {"Content-Length": "3000000"}, b"x" * 1_000_000)
                await eventually(lambda count=count: b.replicas[0].accepted == count, within=20)


@on_both_loops
async def test_a_request_whose_replica_dies_makes_no_garbage(directory: Path):
    async with bench(ScriptedReplica(directory, 0, die), ScriptedReplica(directory, 1, die)) as b:
        async with nothing_left(b):
            for body in (b"{}", b'{"x": "' + b"x" * 1_000_000 + b'"}'):
                assert (await b.ask("POST", CHAT, body=body)).status == 502


@on_both_loops
async def test_a_websocket_makes_no_garbage(directory: Path):
    async def echo(call: Call) -> None:
        await call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await call.send(await call.reader.read(1))

    async with bench(ScriptedReplica(directory, script=echo)) as b:
        async with nothing_left(b):
            for leaves_first in (True, False):
                client = await b.connect()
                await client.send("GET", "/v1/realtime", UPGRADE)
                assert (await client.head()).status == 101
                if not leaves_first:
                    client.writer.write(b"x")
                    assert await client.reader.read(1) == b"x"


@on_both_loops
async def test_a_client_that_leaves_the_line_makes_no_garbage(directory: Path):
    """Its body fills what may be read ahead, and nobody has asked for it."""
    async with bench() as b:
        async with nothing_left(b):
            client = await b.connect()
            client.writer.write(
                b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3000000\r\n\r\n" % CHAT.encode()
            )
            client.writer.write(b"x" * 180_000)
            await eventually(lambda: b.rotation.waiting == 1, within=20)


@on_both_loops
async def test_a_probe_makes_no_garbage(directory: Path):
    """There is one for each replica every few seconds, for good."""

    async def healthy(call: Call) -> None:
        await call.reply(b"{}")

    async with bench(ScriptedReplica(directory, script=healthy)) as b:
        probe = LivenessProbe(b.replicas[0].upstream.socket_path, timeout=lambda: 20.0)
        async with nothing_left(b):
            for _ in range(3):
                assert await probe.ask() is None
            await eventually(lambda: b.replicas[0].open == 0, within=20)
