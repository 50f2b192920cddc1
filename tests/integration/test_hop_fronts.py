"""Every side of the hop's measurement that is started as a program answers, on its port, and ends when told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from benchmarks.hop import FRONTS
from tests.daemon import free_port
from tests.eventually import eventually
from tests.wire import CHAT, Client, ScriptedReplica

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("side", FRONTS)
async def test_a_front_answers_and_ends_when_told(side: str, short_dir: Path):
    port = free_port()
    replica = await ScriptedReplica(short_dir).start()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *FRONTS[side], str(port), str(replica.upstream.socket_path)),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )

    def listens() -> bool:
        assert process.returncode is None
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    try:
        await eventually(listens, what=f"{side} listens")
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        for _ in range(3):
            answer = await client.ask("POST", CHAT, {"Authorization": "Bearer sk-mine"}, b"{}")
            assert answer.start.startswith("HTTP/1.1 200")
            assert answer.body
        assert side == "aiohttp-only" or len(replica.requests) == 3
        client.leave()
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
        await replica.stop()
