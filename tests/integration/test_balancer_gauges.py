"""What is open, by the balancer's own count."""

from __future__ import annotations

from pathlib import Path

from tests.eventually import eventually
from tests.wire import CHAT, ScriptedReplica, bench


async def test_connections_are_counted_from_when_they_open_to_when_they_close(short_dir: Path):
    async with bench(ScriptedReplica(short_dir, 1), balancer={"idle_upstream_timeout": 0.2}) as b:
        assert (b.balancer.snapshot().clients, b.balancer.snapshot().idle_upstream) == (0, 0)
        client = await b.connect()
        assert (await client.ask("POST", CHAT, body=b"{}")).status == 200
        assert b.balancer.snapshot().clients == 1
        await eventually(lambda: b.balancer.snapshot().idle_upstream == 1, what="it is kept for the next request")
        await eventually(lambda: b.balancer.snapshot().idle_upstream == 0, what="nobody asked in time")
        client.leave()
        await eventually(lambda: b.balancer.snapshot().clients == 0, what="the client is gone")
