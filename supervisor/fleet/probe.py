"""One probe of one replica: `/health/liveliness`, over a new connection that nothing else uses.

The answer comes from the loop that serves requests, so a hung loop cannot look alive; nothing else of LiteLLM is asked,
so a database that blinks does not take the pool down. A connection that was kept would go on answering when the
replica's socket is gone, and nobody else can reach it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import aiohttp

_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class CannotAsk(Exception):
    """This process lacks what a connection takes: that says nothing about the replica, which must not pay for it."""


class Probe(Protocol):
    async def ask(self) -> str | None:
        """None when it answered, else why not, in a few words. Never raises for a replica that is not there.

        Raises CannotAsk.
        """
        ...

    async def close(self) -> None: ...


class LivenessProbe:
    """Probes one socket. `timeout` is asked before each probe; it is in seconds and covers everything."""

    def __init__(self, socket_path: Path, *, timeout: Callable[[], float]) -> None:
        self._path = str(socket_path)
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def ask(self) -> str | None:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(self._path, limit=1, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        timeout = self._timeout()
        limit = aiohttp.ClientTimeout(total=timeout)
        try:
            async with self._session.get("http://replica/health/liveliness", timeout=limit) as response:
                await response.read()
                return None if response.status == 200 else f"answered {response.status}"
        except TimeoutError:
            return f"no answer within {timeout:g} s"
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, OSError) and error.errno in _OURS:
                raise CannotAsk from None
            return type(error).__name__

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


async def first_answer(probe: Probe, socket_path: Path, *, interval: float = 0.02) -> None:
    """Returns when the replica answers for the first time. Deadlines are the caller's.

    Until there is a socket, looking for it is all that is done: a replica that loads LiteLLM needs the processor.
    """
    while True:
        with contextlib.suppress(CannotAsk):
            if socket_path.is_socket() and await probe.ask() is None:
                return
        await asyncio.sleep(interval)
