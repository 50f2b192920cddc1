"""The seam between the fleet and whatever starts a replica.

Values and protocols only. Two launchers implement it (`plain`, `forked`), and `tests/fakes.py` a third; one contract
suite runs against all of them.
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """Everything that one replica process is started with.

    `environment` is complete: nothing is inherited beside it. `arguments` are LiteLLM's own command-line arguments
    (without the program name) and hold no secret.
    """

    replica: int
    slot: int
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = dataclasses.field(repr=False)
    socket_path: Path  # served on, made by the replica, at most 107 bytes
    directory: Path


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended: an exit code, or the signal that ended it."""

    code: int | None
    signal: int | None

    def __str__(self) -> str:
        if self.signal is not None:
            try:
                return signal.Signals(self.signal).name
            except ValueError:
                return f"signal {self.signal}"
        return f"exit {self.code}"


class Process(Protocol):
    """One running replica process, the daemon's own child, leader of its own session."""

    @property
    def pid(self) -> int: ...

    def output(self) -> AsyncIterator[str]:
        """Its stdout and stderr, line by line without the newline, until the last holder of the pipe is gone.

        May be iterated once. Lines longer than 64 KiB are split. The pipe is always drained: if nobody iterates,
        lines are dropped, never held back from the replica.
        """
        ...

    async def wait(self) -> ExitStatus:
        """How it ended. May be awaited by several, and after the end. By then its whole session has been killed."""
        ...

    def terminate(self) -> None:
        """Asks it to leave (SIGTERM). Does nothing once it is gone; never reaches another process of that number."""
        ...

    def kill(self) -> None:
        """Kills it (SIGKILL). Does nothing once it is gone; never reaches another process of that number."""
        ...


class Launcher(Protocol):
    """Starts replicas."""

    @property
    def name(self) -> str:
        """ "fork" or "plain", as in `status`."""
        ...

    async def prepare(self, environment: Mapping[str, str]) -> None:
        """Gets ready to launch with this environment. Idempotent; raises LaunchFailed.

        Running replicas are not touched, and neither is what other environments have been prepared: launching with
        those goes on meanwhile.
        """
        ...

    async def keep(self, environments: Sequence[Mapping[str, str]]) -> None:
        """Ends what was prepared for other environments than these. The first is the one that is wanted most."""
        ...

    async def launch(self, spec: LaunchSpec) -> Process:
        """Starts one replica; returns as soon as its process exists. Raises LaunchFailed, and then nothing runs."""
        ...

    async def close(self) -> None:
        """Ends what the launcher itself keeps running. Replicas that it started are their owner's."""
        ...
