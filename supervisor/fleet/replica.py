"""One replica process and the one task that looks after it.

Launches it, waits for its first answer and its warm-up, probes it, passes on what it writes, and tells the pool what
happened. It decides nothing: whether a missed probe matters, and when to leave, is said to it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from supervisor.errors import LaunchFailed
from supervisor.fleet.launch.spec import Launcher, LaunchSpec, Process
from supervisor.fleet.messages import Answered, Drained, Exited, Launched, Message, Overstayed, Probed, Unfit, Warmed
from supervisor.fleet.probe import CannotAsk, Probe, first_answer

WarmUp = Callable[[int], Awaitable[str | None]]
"""Waits until the replica of this number warmed up: None, or why it is not complete."""

Examine = Callable[[], Awaitable[str | None]]
"""What speaks against letting the replica serve, or None."""

TakeLine = Callable[[LaunchSpec, str], None]

_DEATH_TIMEOUT = 5.0  # seconds in which the kernel takes a killed process away


@dataclass(frozen=True, slots=True)
class ReplicaTimes:
    """Seconds."""

    probe_interval: float
    drain_timeout: float
    stop_timeout: float


class Replica:
    """The shell around one process, from launch to exit. `run` is its whole life."""

    def __init__(
        self,
        spec: LaunchSpec,
        *,
        environment: Mapping[str, str],
        launcher: Launcher,
        probe: Probe,
        warm_up: WarmUp,
        take_line: TakeLine,
        post: Callable[[Message], None],
        times: Callable[[], ReplicaTimes],
        examine: Examine | None = None,
    ) -> None:
        self.spec = spec
        self._environment = environment  # the generation's: what the launcher prepares for, the same for all replicas
        self._launcher = launcher
        self._probe = probe
        self._warm_up = warm_up
        self._take_line = take_line
        self._post = post
        self._times = times  # asked when one is needed: they may change while the process runs
        self._examine = examine
        self._process: Process | None = None
        self._told = asyncio.Event()  # to stop
        self._killed = False

    async def run(self) -> None:
        """Returns when the process is gone, after having said so. Cancelled, it kills the process first."""
        number = self.spec.replica
        try:
            await self._prepare()
            process = await self._launcher.launch(self.spec)
        except (LaunchFailed, OSError) as error:
            self._post(Exited(number, None, str(error)))
            return
        self._process = process
        if self._killed:  # while it was being launched
            process.kill()
        self._post(Launched(number, process.pid))
        try:
            async with asyncio.TaskGroup() as group:
                side = [group.create_task(self._observe()), group.create_task(self._stop_when_told(process))]
                lines = group.create_task(self._pass_on_lines(process))
                status = await process.wait()
                for task in side:
                    task.cancel()
                # What it wrote last explains its end; but a pipe that somebody else holds must not hold us.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await asyncio.wait([lines])
                lines.cancel()
        finally:
            process.kill()
            with contextlib.suppress(TimeoutError):  # with it ends its session, which must not outlive us
                async with asyncio.timeout(_DEATH_TIMEOUT):
                    await process.wait()
            with contextlib.suppress(OSError):
                self.spec.socket_path.unlink()
        self._post(Exited(number, status))

    def stop(self) -> None:
        """Asks the process to end; says so if it still runs `stop_timeout` later. Returns at once."""
        self._told.set()

    def kill(self) -> None:
        """Kills the process now, or as soon as it exists."""
        self._killed = True
        self._told.set()
        if self._process is not None:
            self._process.kill()

    async def drain(self, idle: Awaitable[object]) -> None:
        """Waits until it holds no request any more, at most `drain_timeout`, and says so."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._times().drain_timeout):
                await idle
        self._post(Drained(self.spec.replica))

    async def _prepare(self) -> None:
        """Preparing may mean to load LiteLLM, which takes long: whoever is told to leave does not wait for it."""
        preparing = asyncio.ensure_future(self._launcher.prepare(self._environment))
        told = asyncio.ensure_future(self._told.wait())
        try:
            await asyncio.wait([preparing, told], return_when=asyncio.FIRST_COMPLETED)
        finally:
            preparing.cancel()
            told.cancel()
            await asyncio.gather(preparing, told, return_exceptions=True)
        if self._told.is_set():
            raise LaunchFailed("it was told to stop before it was launched")
        preparing.result()

    async def _observe(self) -> None:
        number = self.spec.replica
        await first_answer(self._probe, self.spec.socket_path)
        self._post(Answered(number))
        incomplete = await self._warm_up(number)
        if self._examine is not None and (why := await self._examine()) is not None:
            self._post(Unfit(number, why))
            return
        self._post(Warmed(number, incomplete))
        # From one question to the next, so that an answer that does not come does not put off the next question.
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            due = max(due + self._times().probe_interval, clock())
            await asyncio.sleep(due - clock())
            with contextlib.suppress(CannotAsk):
                self._post(Probed(number, await self._probe.ask()))

    async def _pass_on_lines(self, process: Process) -> None:
        async for line in process.output():
            self._take_line(self.spec, line)

    async def _stop_when_told(self, process: Process) -> None:
        await self._told.wait()
        process.terminate()
        await asyncio.sleep(self._times().stop_timeout)
        self._post(Overstayed(self.spec.replica))
