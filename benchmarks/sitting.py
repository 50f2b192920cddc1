"""What is measured in one start of a side, so that questions about the same start share it.

Three LiteLLMs take up to twenty seconds to start on two cores. Boot, memory and first request are asked of one start,
recovery and reload of another; whichever question is asked first has it, and the others of this process take what it
kept.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import aiohttp

from benchmarks.attempt import attempt
from benchmarks.clients import Told, Work, clients, load
from benchmarks.cost import pss
from benchmarks.peers import NEEDS, POOLS
from benchmarks.peers.pool import FAST, PACED, WORKERS, Pool, started
from benchmarks.programs import read_programs
from benchmarks.provider import provider
from benchmarks.question import OURS, Figure, Goal, Measure, Question, Run, in_turns
from tests.load import REPLICA_HEADER

Figures = Mapping[str, float]
Sit = Callable[[str, str], Awaitable[Figures]]
"""Of a side and the provider's URL."""

FIRST_EACH = 20  # requests of each kind per LiteLLM, one after another
STEADY_FROM = 10  # the requests of a kind before this one still warm something up
SERVED_PLAIN, SERVED_STREAMED = 1_800, 200
KILLS, KILLS_WITHIN = 3, 5.0  # seconds; no further kill is begun after that
REST = 1.0  # seconds between two deeds
MORE_TRIES = 2
SIT_WITHIN = 150.0  # seconds, tries included


class RequestsLostError(RuntimeError):
    """The text says how many of how many."""


class Sittings:
    """Those of one kind, by side and round. `of` is the question that has them, by name; the others share them.

    `before` is done once, before the first of them.
    """

    def __init__(
        self,
        sit: Sit,
        *,
        of: str,
        sides: Sequence[str],
        rounds: int,
        budget: float,
        before: Callable[[], object] | None = None,
    ) -> None:
        self._sit = sit
        self._before = before
        self._of = of
        self._sides = sides
        self._rounds = rounds
        self._budget = budget
        self._kept: dict[tuple[str, int], Run] = {}

    def question(
        self, *, name: str, title: str, how: str, figures: Sequence[Figure], goals: Sequence[Goal], drawn: Sequence[str]
    ) -> Question:
        return Question(
            name=name,
            title=title,
            how=how,
            sides=self._sides,
            figures=figures,
            goals=goals,
            measure=self.measure(figures),
            rounds=self._rounds,
            budget=self._budget,
            shares="" if name == self._of else self._of,
            needs={side: NEEDS[side] for side in self._sides if side in NEEDS},
            cores=2,
            drawn=drawn,
        )

    def measure(self, figures: Sequence[Figure]) -> Measure:
        """The `measure` of a question that has these figures."""
        names = [figure.name for figure in figures]

        async def measured(rounds: int, sides: Sequence[str]) -> AsyncIterator[Run]:
            if self._before is not None and not self._kept:
                await asyncio.to_thread(self._before)
            async with provider() as url:
                for number, side in in_turns(sides, rounds):
                    if (side, number) not in self._kept:
                        self._kept[side, number] = await attempt(side, number, self._undisturbed(side, url), SIT_WITHIN)
                    kept = self._kept[side, number]
                    yield replace(kept, figures={name: kept.figures[name] for name in names if name in kept.figures})

        return measured

    async def _undisturbed(self, side: str, url: str) -> Figures:
        """A sitting in which no request was lost. Peers lose some now and then: they may try again; we may not."""
        for _ in range(0 if side == OURS else MORE_TRIES):
            try:
                return await self._sit(side, url)
            except RequestsLostError as lost:
                print(f"{side}: once more, because {lost}", file=sys.stderr, flush=True)
        return await self._sit(side, url)


async def at_start(side: str, provider_url: str) -> Figures:
    """A start, what it weighs, its first requests, 2,000 requests, and what it weighs then."""
    async with started(POOLS[side], provider_url) as (pool, boot):
        await asyncio.sleep(REST)
        idle = pss(process.pid for process in pool.processes())
        first = await first_requests(pool)
        for stream, requests in ((False, SERVED_PLAIN), (True, SERVED_STREAMED)):
            answered_all(await load(work(pool, stream=stream, connections=8, requests=requests)), requests)
        await asyncio.sleep(REST)
        return {
            "ready": boot.ready,
            "answered": boot.answered,
            "idle": idle,
            "served": pss(process.pid for process in pool.processes()),
            **first,
        }


async def at_trouble(side: str, provider_url: str) -> Figures:
    """LiteLLMs are killed one after another, under a light load; then the file changes, under streams."""
    async with started(POOLS[side], provider_url) as (pool, _):
        answered_all(await load(work(pool, connections=8, requests=120)), 120)
        return {**await killed(pool), **await reloaded(pool)}


async def killed(pool: Pool) -> Figures:
    async with clients(work(pool, connections=2, pause=0.2)) as running:
        seconds: list[float] = []
        begun = time.monotonic()
        while len(seconds) < KILLS and time.monotonic() - begun < KILLS_WITHIN:
            await asyncio.sleep(REST)
            seconds.append(await pool.recover())
        await asyncio.sleep(REST)
        told = await running.stop()
    return {
        "recovered": statistics.median(seconds),
        "slowest": max(seconds),
        "lost": (told.failed + told.cut) / len(seconds),
    }


async def reloaded(pool: Pool) -> Figures:
    """Streams of some two seconds and plain requests of a third of one, before, while and after."""
    async with (
        clients(work(pool, model=PACED, stream=True, connections=8)) as streams,
        clients(work(pool, model=PACED, connections=4)) as plain,
    ):
        await asyncio.sleep(3 * REST)
        name, seconds = await pool.reload()
        await asyncio.sleep(3 * REST)
        streamed, answered = await streams.stop(), await plain.stop()
    answered_all(await load(work(pool, model=name, connections=12, requests=24)), 24)
    return {
        "reloaded": seconds,
        "failed": streamed.failed + answered.failed,
        "cut": streamed.cut + answered.cut,
        "asked": sum(streamed.outcomes.values()) + sum(answered.outcomes.values()),
    }


def work(pool: Pool, *, model: str = FAST, **more: Any) -> Work:
    return Work(pool.place.url, pool.place.headers, model=model, **more)


def answered_all(told: Told, requests: int) -> None:
    """Raises RequestsLostError otherwise: what is measured after failures would be of another pool."""
    if told.answered != requests:
        raise RequestsLostError(f"{told.answered} of {requests} requests were answered: {dict(told.outcomes)}")


async def first_requests(pool: Pool) -> Figures:
    """Milliseconds of the slowest first request of any LiteLLM and of the steady one, plain and streamed in turns.

    Who answered is known behind litesup only, so there it is the slowest of three; elsewhere it is the pool's very
    first. Each request has a connection of its own, because a kept one stays with one worker.
    """
    seen: dict[bool, dict[str | None, list[float]]] = {False: defaultdict(list), True: defaultdict(list)}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        for number in range(2 * FIRST_EACH * WORKERS):
            stream = number % 2 == 1
            who, seconds = await timed(session, pool, stream=stream)
            seen[stream][who].append(seconds * 1e3)
    return first_and_steady("plain", seen[False].values()) | first_and_steady("stream", seen[True].values())


def first_and_steady(kind: str, by_replica: Any) -> dict[str, float]:
    """Of the requests of one kind, in order, per LiteLLM."""
    each = list(by_replica)
    first = max(times[0] for times in each)
    steady = statistics.median(time for times in each for time in times[STEADY_FROM:])
    return {f"first_{kind}": first, f"steady_{kind}": steady, f"cold_{kind}": first / steady}


async def timed(session: aiohttp.ClientSession, pool: Pool, *, stream: bool) -> tuple[str | None, float]:
    """One chat completion: who answered, and the seconds until its last byte."""
    body = {"model": FAST, "messages": [{"role": "user", "content": "ping"}], "stream": stream}
    begun = time.perf_counter()
    async with session.post(f"{pool.place.url}/v1/chat/completions", json=body, headers=pool.place.headers) as response:
        text = await response.text()
        seconds = time.perf_counter() - begun
        if response.status != 200:
            raise RuntimeError(f"{pool.side} answered {response.status}: {text[:1000]}")
        return response.headers.get(REPLICA_HEADER), seconds


STARTS = Sittings(
    at_start,
    of="boot",
    sides=("litesup", "uvicorn", "gunicorn"),
    rounds=3,
    budget=330.0,
    before=read_programs,
)
TROUBLES = Sittings(
    at_trouble, of="recovery", sides=("litesup", "uvicorn", "gunicorn", "haproxy"), rounds=2, budget=345.0
)
