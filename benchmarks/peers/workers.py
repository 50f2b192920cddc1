"""LiteLLM's own ways to run several workers: `--num_workers 3`, and the same with `--run_gunicorn`.

A worker counts as started when it logs that its application is: uvicorn's workers, also under gunicorn, do that right
before they serve. Neither makes a request of its own before that.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import ClassVar

import psutil

from benchmarks.peers.pool import START_WITHIN, WORKERS, Place, Pool
from benchmarks.peers.program import STOP_WITHIN, Program

STARTED = "Application startup complete"


class _Workers(Pool):
    """A master with workers, all of which accept on the same socket."""

    flags: ClassVar[tuple[str, ...]]

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        address = ("--host", "127.0.0.1", "--port", str(place.port))
        command = place.litellm(*address, "--num_workers", str(WORKERS), *self.flags)
        self.master = Program(self.side, command, place.folder, place.environment)

    async def stop(self) -> None:
        await self.master.stop()

    def processes(self) -> list[psutil.Process]:
        return self.master.processes()

    async def _start(self) -> None:
        await self.master.start()
        await self._started(0)

    def _return_of(self, victim: int) -> Callable[[], Awaitable[None]]:
        since = len(self.master.log.lines())
        return lambda: self._started(since, 1)

    async def _started(self, since: int, workers: int = WORKERS) -> None:
        """Returns when so many workers have started since that line of the log."""
        await self.master.until(
            lambda: self.master.log.count(STARTED, since) >= workers, START_WITHIN, f"{workers} workers started"
        )


class Gunicorn(_Workers):
    """It loads LiteLLM once, and forks. SIGHUP replaces the workers by others, which read the file anew."""

    side = "gunicorn"
    flags = ("--run_gunicorn",)

    def workers(self) -> list[int]:
        return sorted(child.pid for child in psutil.Process(self.master.pid).children())

    async def _reload(self) -> None:
        since = len(self.master.log.lines())
        self.master.signal(signal.SIGHUP)
        await self._started(since)
        async with asyncio.timeout(START_WITHIN):
            while len(self.workers()) > WORKERS:  # those that leave answer what they hold, from the old file
                await asyncio.sleep(0.01)


class Uvicorn(_Workers):
    """Each worker is a Python of its own. SIGHUP ends in "aborting the restart", so what is left is to restart it."""

    side = "uvicorn"
    flags = ()

    def workers(self) -> list[int]:
        children = psutil.Process(self.master.pid).children()
        return sorted(child.pid for child in children if any("spawn_main" in word for word in child.cmdline()))

    async def _reload(self) -> None:
        await self.master.stop(STOP_WITHIN)
        since = len(self.master.log.lines())
        await self.master.start()
        await self._started(since)
