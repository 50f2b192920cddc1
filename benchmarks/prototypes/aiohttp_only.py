"""aiohttp's low-level server answering by itself: nothing that stands behind it can be faster than this.

    python -m benchmarks.prototypes.aiohttp_only PORT [SOCKET...]

No guard, no balancer, no replica; the answer is the one that the measurement's upstream gives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from benchmarks.hop import ANSWER
from benchmarks.prototypes.serving import main

_BODY = ANSWER.encode()


async def _answer(request: web.BaseRequest) -> web.StreamResponse:
    await request.read()
    return web.Response(body=_BODY, content_type="application/json")


def protocols(loop: asyncio.AbstractEventLoop, sockets: list[Path]) -> Callable[[], asyncio.Protocol]:
    return web.Server(_answer, access_log=None)


if __name__ == "__main__":
    main(protocols)
