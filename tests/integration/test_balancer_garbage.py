"""A request leaves nothing for the garbage collector: its objects end with it, and nobody has to look for them."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path

from tests.eventually import eventually
from tests.loops import on_both_loops
from tests.wire import CHAT, Call, ScriptedReplica, bench


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
        gc.collect()
        gc.disable()
        try:
            for body in (b"{}", b'{"stream": true}') * 10:
                assert (await client.ask("POST", CHAT, body=body)).status == 200
            other = await b.connect()
            await other.send("POST", CHAT, body=b'{"stream": true}')
            other.leave()
            await eventually(lambda: b.rotation.in_flight == 0, within=5)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            found = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    # Of what the ends of this test leave (theirs are asyncio's streams), none is the balancer's.
    assert {name: count for name, count in found.items() if name.startswith(("supervisor.balancer", "aiohttp."))} == {}
