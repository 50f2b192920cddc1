"""Scripted stand-ins for what the pool touches: a launcher and its processes, in memory, in the loop's own turn.

    launcher = FakeLauncher()
    process = await launcher.launch(spec)          # or whatever the pool launched:
    launcher.processes[-1].print("a line")
    launcher.processes[-1].exit(code=3)            # or exit(signal=signal.SIGKILL)

    launcher.refuse("no memory")                   # the next launch raises LaunchFailed
    launcher.refuse_to_prepare("no such package")  # the next prepare raises LaunchFailed
    launcher.kept                                  # what it was last told to keep
    launcher.ignores_term = True                   # processes launched from now on need a kill

Of `tests.fake_litellm`'s environment variables it obeys FAKE_PRINT, FAKE_EXIT_STARTING and FAKE_IGNORE_TERM, so that the
contract suite can ask all launchers for the same things.
"""

from __future__ import annotations

import asyncio
import itertools
import signal as signals
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence

from supervisor.errors import LaunchFailed
from supervisor.fleet.launch.spec import ExitStatus, LaunchSpec

_pids = itertools.count(100_001)


class FakeProcess:
    """A process that does what the test says. `received` are the signals that were sent to it, in order."""

    def __init__(self, spec: LaunchSpec, *, ignores_term: bool = False) -> None:
        self.spec = spec
        self.ignores_term = ignores_term
        self.received: list[signals.Signals] = []
        self._pid = next(_pids)
        self._status: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        self._lines: deque[str] = deque()
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<FakeProcess {self._pid} of replica {self.spec.replica}: {'running' if self.running else 'ended'}>"

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def running(self) -> bool:
        return not self._status.done()

    def print(self, line: str) -> None:
        self._lines.append(line)
        self._changed.set()

    def exit(self, *, code: int | None = None, signal: int | None = None) -> None:
        """Ends it; with neither code nor signal it ends with code 0."""
        if self.running:
            self._status.set_result(ExitStatus(code=0 if code is None and signal is None else code, signal=signal))
            self._changed.set()

    async def output(self) -> AsyncIterator[str]:
        while True:
            while self._lines:
                yield self._lines.popleft()
            if not self.running:
                return
            self._changed.clear()
            await self._changed.wait()

    async def wait(self) -> ExitStatus:
        return await asyncio.shield(self._status)

    def terminate(self) -> None:
        if self.running:
            self.received.append(signals.SIGTERM)
            if not self.ignores_term:
                self.exit(code=0)

    def kill(self) -> None:
        if self.running:
            self.received.append(signals.SIGKILL)
            self.exit(signal=signals.SIGKILL)


class FakeLauncher:
    """Launches `FakeProcess`es. `processes` are all of them, `prepared` all environments, in order."""

    name = "fake"

    def __init__(self) -> None:
        self.processes: list[FakeProcess] = []
        self.prepared: list[Mapping[str, str]] = []
        self.kept: list[Mapping[str, str]] = []
        self.ignores_term = False
        self.closed = False
        self._refusals: deque[str] = deque()
        self._prepare_refusals: deque[str] = deque()

    @property
    def running(self) -> list[FakeProcess]:
        return [process for process in self.processes if process.running]

    def refuse(self, reason: str) -> None:
        self._refusals.append(reason)

    def refuse_to_prepare(self, reason: str) -> None:
        self._prepare_refusals.append(reason)

    async def prepare(self, environment: Mapping[str, str]) -> None:
        if self._prepare_refusals:
            raise LaunchFailed(self._prepare_refusals.popleft())
        self.prepared.append(dict(environment))

    async def keep(self, environments: Sequence[Mapping[str, str]]) -> None:
        self.kept = list(environments)

    async def launch(self, spec: LaunchSpec) -> FakeProcess:
        if self._refusals:
            raise LaunchFailed(self._refusals.popleft())
        environment = spec.environment
        process = FakeProcess(spec, ignores_term=self.ignores_term or bool(environment.get("FAKE_IGNORE_TERM")))
        self.processes.append(process)
        if text := environment.get("FAKE_PRINT"):
            process.print(text)
            process.print(f"to stderr: {text}")
        if code := environment.get("FAKE_EXIT_STARTING"):
            process.exit(code=int(code))
        return process

    async def close(self) -> None:
        self.closed = True
