"""Signals to replicas under load, and what came of it for the clients.

    async with Assault(daemon, clients=16) as assault:
        for _ in range(20):
            await assault.strike(signal.SIGKILL)
    report = assault.report()
    assert not report.failed

Half of the clients ask for plain answers, half for streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.daemon import Daemon
from tests.load import Load, Result

SERVING = frozenset({"ready", "suspect"})


@dataclass(frozen=True, slots=True)
class Blow:
    """One signal; `at` in monotonic seconds."""

    slot: int
    replica: int
    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class Report:
    """What the clients saw.

    `unanswered` are plain requests that failed, and `not_begun` streams that never began: no client should see either.
    `cut` are streams that broke off; of these `unexplained` were not on a replica that was struck, and `unseen` looked
    complete. `waits` are seconds until the first byte, of all that got one.
    """

    plain: int
    streams: int
    unanswered: list[Result]
    not_begun: list[Result]
    cut: list[Result]
    unexplained: list[Result]
    unseen: list[Result]
    waits: list[float]

    @property
    def failed(self) -> list[Result]:
        return [*self.unanswered, *self.not_begun]

    @property
    def longest(self) -> float:
        return max(self.waits, default=0.0)

    def lines(self) -> list[str]:
        waits = sorted(self.waits) or [0.0]
        return [
            f"plain requests   {self.plain}",
            f"  failed         {len(self.unanswered)}",
            f"streams          {self.streams}",
            f"  never began    {len(self.not_begun)}",
            f"  cut            {len(self.cut)}",
            f"    struck       {len(self.cut) - len(self.unexplained)} (on a replica that was struck, at that moment)",
            f"    elsewhere    {len(self.unexplained)} (for no known reason)",
            f"    unseen       {len(self.unseen)} (of all that were cut: without a sign of it)",
            f"median wait      {waits[len(waits) // 2]:.2f} s for the first byte",
            f"p99 wait         {waits[int(len(waits) * 0.99)]:.2f} s",
            f"longest wait     {waits[-1]:.2f} s",
        ]


class Assault:
    """Clients at work, from entering to leaving, and the blows in between."""

    def __init__(self, daemon: Daemon, *, clients: int = 16, seed: int = 1, seconds: float = 900.0) -> None:
        self.blows: list[Blow] = []
        self._daemon = daemon
        self._random = random.Random(seed)
        self._plain = Load(daemon.url, clients=clients - clients // 2, requests=1_000_000, seconds=seconds)
        self._streams = Load(daemon.url, clients=clients // 2, requests=1_000_000, seconds=seconds, stream=True)
        self._stack = contextlib.AsyncExitStack()
        self._stopped: set[int] = set()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._plain)
        await self._stack.enter_async_context(self._streams)
        await self._plain.finished_at_least(20)
        await self._streams.finished_at_least(20)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in tuple(self._stopped):
            self._continue(pid)
        await self._stack.__aexit__(kind, error, trace)

    async def strike(self, number: int, *, hold: float | None = None) -> Blow:
        """Sends a signal to a replica that serves. `hold` is after how many seconds it may go on (SIGCONT)."""
        blow = await self._strike(number)
        async with asyncio.timeout(60):
            while blow is None:
                await asyncio.sleep(0.05)
                blow = await self._strike(number)
        if hold is not None:
            self._stopped.add(blow.pid)
            await asyncio.sleep(hold)
            self._continue(blow.pid)
        return blow

    async def settled(self, within: float = 120.0) -> None:
        """Returns when the daemon is at rest and the clients have been served since."""
        await self._daemon.settled(within)
        await self._plain.finished_at_least(20)
        await self._streams.finished_at_least(20)

    async def _strike(self, number: int) -> Blow | None:
        serving = [entry for entry in (await self._status())["replicas"] if entry["state"] in SERVING]
        if not serving:
            return None
        victim = self._random.choice(serving)
        blow = Blow(slot=victim["slot"], replica=victim["replica"], pid=int(victim["pid"]), at=time.monotonic())
        try:
            os.kill(blow.pid, number)
        except ProcessLookupError:
            return None
        self.blows.append(blow)
        return blow

    async def _status(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, session.get(f"{self._daemon.admin_url}/status") as response:
            document: dict[str, Any] = await response.json()
            return document

    def _continue(self, pid: int) -> None:
        self._stopped.discard(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def report(self) -> Report:
        """After the end."""
        plain, streams = self._plain.results, self._streams.results
        cut = [result for result in streams if result.status == 200 and not result.complete]
        begun = [result for result in (*plain, *streams) if result.first_byte is not None]
        return Report(
            plain=len(plain),
            streams=len(streams),
            unanswered=self._plain.failed,
            not_begun=[result for result in streams if result.status != 200],
            cut=cut,
            unexplained=[result for result in cut if not any(_was_struck(result, blow) for blow in self.blows)],
            unseen=[result for result in cut if not result.error],
            waits=[result.first_byte - result.started for result in begun if result.first_byte is not None],
        )


def _was_struck(result: Result, blow: Blow) -> bool:
    return result.replica == str(blow.slot) and result.started <= blow.at <= result.finished
