"""One program of a pool: started with its output in a file, watched by that, and ended with all that it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

POLL = 0.01  # seconds between two looks, which is the error of what is measured by them
STOP_WITHIN = 40.0  # seconds; LiteLLM takes up to 30 to flush what it holds
END_WITHIN = 10.0  # the same at the end, when nobody waits for anything any more


class Log:
    """A file that others write to. Every side's output goes into one, as it would into the journal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self._lines: list[str] = []
        self._partial = b""

    def lines(self) -> Sequence[str]:
        """All of them so far."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                fresh = file.read()
            self._read += len(fresh)
            *whole, self._partial = (self._partial + fresh).split(b"\n")
            self._lines += [line.decode(errors="replace") for line in whole]
        return self._lines

    def count(self, text: str, since: int = 0) -> int:
        """How many lines, from that one on, have this in them."""
        return sum(text in line for line in self.lines()[since:])

    def end(self, lines: int = 40) -> str:
        return "\n".join(self.lines()[-lines:])


class Program:
    """One process and its descendants."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        logs = folder / "logs"  # not beside the configuration: litesup watches what lies there
        logs.mkdir(exist_ok=True)
        self.log = Log(logs / f"{name}.log")
        self._command = command
        self._folder = folder
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        with self.log.path.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )

    async def ended(self) -> None:
        if self._process is not None:
            await self._process.wait()

    def processes(self) -> list[psutil.Process]:
        """It and what descends from it, as far as it still runs."""
        with contextlib.suppress(psutil.NoSuchProcess):
            itself = psutil.Process(self.pid)
            return [itself, *itself.children(recursive=True)]
        return []

    def signal(self, number: signal.Signals) -> None:
        """Not by asyncio's own means: they look first if it has ended, and so may take its exit status from asyncio."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def stop(self, within: float = END_WITHIN) -> None:
        """Asks it to end, and ends whatever has not after a while, or was left behind."""
        if self._process is None:
            return
        descendants = self.processes() if self.running else []
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), within)
        for left in descendants:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        await self._process.wait()

    async def until(self, condition: Callable[[], bool], within: float, what: str) -> None:
        """Looks every `POLL` seconds. Raises RuntimeError when it ends before, or does not get there in time."""
        deadline = asyncio.get_running_loop().time() + within
        while not condition():
            if not self.running:
                raise RuntimeError(f"{self.name} ended before: {what}\n{self.log.end()}")
            if asyncio.get_running_loop().time() > deadline:
                raise RuntimeError(f"{self.name}, not within {within:g} s: {what}\n{self.log.end()}")
            await asyncio.sleep(POLL)
