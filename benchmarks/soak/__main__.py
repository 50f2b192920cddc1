"""A bad day for a pool, in small: clients of every kind, replicas that die, changes good and bad, all at once.

    python -m benchmarks.soak                           ten minutes
    python -m benchmarks.soak --minutes 2 --seed 7      two, and another order of deeds

Three of the real LiteLLM before a provider on the loopback interface. Every failed request has to be explained by what
was done to the pool and by the daemon's log, and nothing of the daemon may grow: memory, descriptors, tasks, files.
From time to time everything comes to rest, and what the daemon then holds is counted. What is done, and in which
order, follows from the seed; when exactly each request is sent does not. Ends with 1 when there is a fault.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.soak import gauges
from benchmarks.soak.asking import Asker
from benchmarks.soak.chaos import Chaos
from benchmarks.soak.gauges import Memory, Rest
from benchmarks.soak.provider import answers, still_open
from benchmarks.soak.report import Ending, Found, Verdict, as_json, judged, lines
from benchmarks.soak.schedule import steps
from benchmarks.soak.traffic import Traffic
from supervisor.allocator import LOOK_EVERY
from tests.daemon import GUIDE, Daemon
from tests.eventually import eventually
from tests.fake_azure import FakeAzure

KEY = "the-azure-key"
SETTINGS = {
    "balancer": {"idle_upstream_timeout": 3.0},  # so that the pool of connections is empty soon, at rest
    "health": {"kill_after": 8.0},
}
SPELLS = 16
"""How often everything comes to rest, in a soak of any length; seldom enough that a spell sees several deeds."""
SHORTEST_SPELL = 15.0  # seconds
AT_ONCE = 3  # deeds; the next one waits for one of these to be over
SAMPLE_EVERY = 1.0
AT_REST_WITHIN = 15.0
GIVEN_BACK_WITHIN = LOOK_EVERY + 1.0
"""What is free by then has been given back: what is measured is what the daemon keeps."""


class Soak:
    """One run, from `run`."""

    def __init__(self, daemon: Daemon, azure: FakeAzure, *, minutes: float, seed: int, quiet: bool) -> None:
        self._daemon = daemon
        self._azure = azure
        self._seconds = minutes * 60.0
        self._seed = seed
        self._quiet = quiet
        self._memory: list[Memory] = []
        self._rests: list[Rest] = []
        self._provider_open = 0
        self._since = time.monotonic()

    async def run(self) -> Found:
        daemon, azure = self._daemon, self._azure
        azure.choose = answers(azure, self._seed)
        asker = Asker(daemon.url)
        traffic = Traffic(asker, seed=self._seed)
        chaos = Chaos(daemon, url=azure.url)
        self._since = time.monotonic()
        sampling = asyncio.create_task(self._sample(traffic))
        schedule = steps(self._seed)
        room = asyncio.Semaphore(AT_ONCE)
        spell = max(SHORTEST_SPELL, self._seconds / SPELLS)
        try:
            traffic.start()
            while self._elapsed < self._seconds:
                end = min(self._elapsed + spell, self._seconds)
                async with asyncio.TaskGroup() as deeds:
                    while self._elapsed < end:
                        step = next(schedule)
                        await asyncio.sleep(step.pause)
                        await room.acquire()
                        deeds.create_task(chaos.do(step)).add_done_callback(lambda _: room.release())
                        traffic.check()
                await chaos.repair()
                await traffic.pause()
                await self._rest()
                self._tell(asker, chaos)
                traffic.resume()
            await traffic.pause()
            seconds = self._elapsed
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)
            await traffic.stop()
        log = list(daemon.events)
        finished = await daemon.run("stop")
        code = await daemon.wait()
        return Found(
            seed=self._seed,
            seconds=seconds,
            requests=asker.requests,
            done=chaos.done,
            log=[*log, *daemon.events[len(log) :]],
            memory=self._memory,
            rests=self._rests,
            provider_open=self._provider_open,
            ending=Ending(code, finished.code, finished.output.strip(), len(daemon.processes()), len(daemon.sockets())),
            killed=frozenset(chaos.killed),
            stopped=frozenset(chaos.stopped),
        )

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._since

    async def _sample(self, traffic: Traffic) -> None:
        while True:
            if traffic.going:
                self._memory.append(gauges.memory(self._daemon.pid, self._since))
            await asyncio.sleep(SAMPLE_EVERY)

    async def _rest(self) -> None:
        """Waits until nothing is under way any more, and notes what there is then, also where that never comes."""
        await self._daemon.settled(180.0)
        await asyncio.sleep(GIVEN_BACK_WITHIN)

        async def rested() -> Rest | None:
            seen = await gauges.rest(self._daemon, self._since)
            return None if any(getattr(seen, name) for name in gauges.MUST_BE_NOTHING) else seen

        try:
            self._rests.append(await eventually(rested, within=AT_REST_WITHIN, what="rest", every=0.25))
        except AssertionError:
            self._rests.append(await gauges.rest(self._daemon, self._since))
        self._provider_open += len(still_open(self._azure))

    def _tell(self, asker: Asker, chaos: Chaos) -> None:
        if self._quiet:
            return
        rest = self._rests[-1]
        failed = sum(1 for request in asker.requests if not request.succeeded and not request.left)
        print(
            f"{self._elapsed:6.0f} s: {len(asker.requests)} requests, {failed} failed, {len(chaos.done)} deeds; "
            f"at rest {rest.uss:.1f} MiB, {rest.descriptors} descriptors, {rest.tasks} tasks",
            file=sys.stderr,
            flush=True,
        )


async def soak(options: argparse.Namespace) -> Verdict:
    # A request to end is one to clean up as well.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)  # type: ignore[union-attr]
    async with FakeAzure(api_key=KEY) as azure:
        daemon = Daemon(GUIDE.format(url=azure.url), environment={"AZURE_OPENAI_API_KEY": KEY}, settings=SETTINGS)
        async with daemon:
            run = Soak(daemon, azure, minutes=options.minutes, seed=options.seed, quiet=options.quiet)
            found = await run.run()
        if options.log:
            Path(options.log).write_text("\n".join(daemon.output) + "\n")
        return judged(found)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="0.5 to 120 (10); the last deed may take a minute more"
    )
    parser.add_argument("--seed", type=int, default=1, help="which deeds, and in which order (1)")
    parser.add_argument("--json", action="store_true", help="everything that was seen, as one document on stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--log", metavar="FILE", help="where to write what the daemon printed")
    options = parser.parse_args()
    if not 0.5 <= options.minutes <= 120:
        parser.error("--minutes is 0.5 to 120")
    if not options.json:
        for name, value in machine().items():
            print(f"{name:<16} {value}", flush=True)
    try:
        verdict = asyncio.run(soak(options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted; nothing is left running", file=sys.stderr)
        sys.exit(130)
    if options.json:
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(as_json(verdict), indent=1))
    else:
        print("\n".join(["", *lines(verdict)]))
    sys.exit(not verdict.passed)


if __name__ == "__main__":
    main()
