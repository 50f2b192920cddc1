"""What can be asked of a running daemon: the seam between `control` and the parts that do it.

Values and one protocol. The daemon implements `Operations`; the control server exposes it, the client speaks to it.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from supervisor.status import Status


class ReloadResult(enum.Enum):
    UNCHANGED = "unchanged"  # same digest: nothing to do
    ROLLED = "rolled"  # the new generation serves everywhere
    STARTED = "started"  # the roll-out was begun, and was not waited for
    REFUSED = "refused"  # the configuration has errors; the old one serves
    ROLLED_BACK = "rolled_back"  # replicas of the new generation failed; the old one serves
    SUPERSEDED = "superseded"  # a newer change took its place


FAILED = frozenset({ReloadResult.REFUSED, ReloadResult.ROLLED_BACK, ReloadResult.SUPERSEDED})
"""What was asked for does not serve, and will not by itself."""


@dataclass(frozen=True, slots=True)
class SettingsOutcome:
    """What became of `litesup.yaml`. `applied` and `needs_restart` read like "queue.size (1000 → 2000)".

    With `problems` none of it was applied. `rolls` says that replicas are replaced because of what was applied.
    """

    applied: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    rolls: bool = False


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """`result` and `problems` are about LiteLLM's configuration; the two files are read each by itself."""

    result: ReloadResult
    generation: str
    problems: tuple[str, ...] = ()
    settings: SettingsOutcome = SettingsOutcome()


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A good generation that is kept. Times are Unix seconds; `reason` is why it was wanted."""

    digest: str
    kept_at: float  # when it came into force
    stood_at: float  # when it last proved good
    reason: str
    running: bool


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a replica wrote. `at` is Unix seconds."""

    at: float
    slot: int
    replica: int
    generation: str
    text: str


class Operations(Protocol):
    def status(self) -> Status: ...

    async def reload(self, *, wait: bool) -> ReloadOutcome:
        """Reads litesup.yaml and the configuration again, and rolls when that changed.

        A generation that failed is tried again.
        """
        ...

    async def rollback(self, digest: str | None, *, wait: bool) -> ReloadOutcome:
        """Rolls to the good generation before the present one, or to the one whose digest begins so."""
        ...

    async def history(self) -> tuple[HistoryEntry, ...]:
        """The good generations that are kept, what came into force last first."""
        ...

    async def restart(self, slots: tuple[int, ...]) -> tuple[int, ...]:
        """Replaces the replicas of these slots (all, if none is named), replacement first; returns the slots.

        Returns when the replacements serve. Raises LitesupError for a slot that does not exist.
        """
        ...

    async def scale(self, count: int) -> None:
        """Changes how many replicas are wanted (at least 1); returns at once."""
        ...

    async def drain(self, slot: int) -> None:
        """Takes the slot's replica out of rotation, lets it finish, and starts another in its place afterwards."""
        ...

    async def stop(self) -> None:
        """Begins the orderly end of the daemon; returns at once."""
        ...

    def log_lines(self, slots: tuple[int, ...], *, follow: bool) -> AsyncIterator[LogLine]:
        """The lines kept of these slots (all, if none is named), oldest first; with `follow`, then new ones for ever.

        A reader that is too slow misses lines and is told how many by a line that says so.
        """
        ...
