"""What every prototype needs around its protocol: a port, uvloop, and an end by SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import uvloop

Protocols = Callable[[asyncio.AbstractEventLoop, list[Path]], Callable[[], asyncio.Protocol]]
"""Given the loop and the replicas' sockets: what makes the protocol of one client's connection."""


async def _serve(protocols: Protocols, port: int, sockets: list[Path]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocols(loop, sockets), "127.0.0.1", port, backlog=2048)
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    await over.wait()
    server.close()


def main(protocols: Protocols) -> None:
    """Serves on PORT in front of SOCKET..., both from the command line."""
    port, *sockets = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(protocols, int(port), [Path(each) for each in sockets]))
