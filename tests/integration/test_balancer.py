"""The balancer over real sockets, against replicas that follow a script; each promise under asyncio and under uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
import uvloop

from tests.wire import CHAT, POOL_KEY, Call, ScriptedReplica, bench, read_chunk


def on_both_loops(scenario: Callable[[Path], Coroutine[object, object, None]]) -> Callable[..., None]:
    @pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    def test(new_loop: Callable[[], asyncio.AbstractEventLoop], short_dir: Path) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(asyncio.wait_for(scenario(short_dir), 60))

    test.__name__ = scenario.__name__
    return test


@on_both_loops
async def test_a_post_without_a_key_reaches_the_replica_with_the_pools(directory: Path):
    async with bench(ScriptedReplica(directory)) as b:
        answer = await b.ask("POST", "/chat/completions", body=b'{"model": "gpt-4"}')
        assert answer.status == 200
        assert answer.json() == {"hello": "world"}
        assert answer.one("x-litesup-replica") == "0"
        (request,) = b.replicas[0].requests
        assert request.start == "POST /chat/completions HTTP/1.1"
        assert request.one("authorization") == f"Bearer {POOL_KEY}"
        assert request.one("x-forwarded-for") == "127.0.0.1"
        assert request.body == b'{"model": "gpt-4"}'
        assert request.one("x-request-id") == answer.one("x-request-id")
        (event,) = b.seen
        assert (event.status, event.outcome, event.slot, event.attempts) == (200, "answered", 0, 1)
        assert event.route == "chat/completions"


@on_both_loops
async def test_the_first_chunk_reaches_the_client_before_the_replica_sends_the_second(directory: Path):
    first_seen = asyncio.Event()

    async def stream(call: Call) -> None:
        await call.read_body()
        await call.begin_stream()
        await call.chunk(b"data: one\n\n")
        await first_seen.wait()
        await call.chunk(b"data: two\n\n")
        await call.send(b"0\r\n\r\n")

    async with bench(ScriptedReplica(directory, script=stream)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, body=b"{}")
        assert (await client.head()).one("content-type") == "text/event-stream"
        assert await read_chunk(client.reader) == b"data: one\n\n"
        first_seen.set()
        assert await read_chunk(client.reader) == b"data: two\n\n"
        assert await read_chunk(client.reader) == b""
