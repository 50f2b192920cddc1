"""The last good generations in the state directory, one private file each.

Owns those files: how they are written (whole or not at all), which are read, and which go. Blocks on the disk. What
cannot be read is skipped and named; nothing in here ends anything.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from supervisor.history.kept import Kept, from_text, to_text
from supervisor.litellm_config.generation import Generation
from supervisor.litellm_config.include import absolute

DIRECTORY = "history"
MOST = 10
"""Good generations that are kept of one configuration file."""

MOST_BYTES = 32 * 2**20
"""Of one file: far more than a configuration has, and little enough to be read by mistake."""

_SUFFIX = ".json"
_UNFINISHED = ".unfinished-"
_STALE = 3600.0  # seconds after which nobody writes an unfinished file any more


@dataclass(frozen=True, slots=True)
class Shelf:
    """What was found. `skipped` names files that could not be used, and why."""

    entries: tuple[Kept, ...] = ()  # what came into force last first
    skipped: tuple[str, ...] = ()

    def of(self, generation: Generation | None) -> Kept | None:
        """The entry with the words of this generation."""
        return next((kept for kept in self.entries if generation and kept.written == generation.written), None)

    def last_stood(self) -> tuple[Kept, ...]:
        """What proved good last first."""
        return tuple(sorted(self.entries, key=lambda kept: kept.stood_at, reverse=True))

    def before(self, generation: Generation | None) -> tuple[Kept, ...]:
        """What was in force before this generation was, nearest first; everything, if it has not proved good itself."""
        present = self.of(generation)
        if present is None:
            return self.last_stood()
        return tuple(kept for kept in self.entries if kept.kept_at < present.kept_at)

    def named(self, prefix: str) -> tuple[Kept, ...]:
        return tuple(kept for kept in self.entries if kept.digest.startswith(prefix))


@dataclass(frozen=True, slots=True)
class InForce:
    """What serves everywhere. `gone_back_to`: it was chosen out of the history, so it keeps its place there.

    `instead_of` are the identities of what the operator went back from.
    """

    generation: Generation
    reason: str
    gone_back_to: bool = False
    instead_of: frozenset[str] = frozenset()


class History:
    """The history of the configuration `source`; `state_dir` may hold those of others beside it."""

    def __init__(self, state_dir: Path, source: Path) -> None:
        self.directory = state_dir / DIRECTORY
        self._source = absolute(source)

    def shelf(self) -> Shelf:
        """What is kept. Never raises: without a directory, or without the right to read it, nothing is."""
        entries: list[Kept] = []
        skipped: list[str] = []
        try:
            files = sorted(self.directory.iterdir())
        except FileNotFoundError:
            return Shelf()
        except OSError as error:
            return Shelf(skipped=(f"{self.directory}: {error.strerror or error}",))
        for file in files:
            if file.suffix != _SUFFIX or file.name.startswith(_UNFINISHED):
                continue
            try:
                kept = from_text(_private_text(file))
            except FileNotFoundError:
                continue  # another daemon has just made room
            except OSError as error:
                skipped.append(f"{file}: {error.strerror or error}")
            except ValueError as error:
                skipped.append(f"{file}: {error}")
            else:
                if kept.source == self._source:
                    entries.append(kept)
        entries.sort(key=lambda kept: kept.kept_at, reverse=True)
        return Shelf(tuple(entries), tuple(skipped))

    def keep(self, good: InForce) -> Kept:
        """Keeps it as good now, and lets go of the oldest beyond MOST. Raises OSError."""
        generation, now = good.generation, time.time()
        shelf = self.shelf()
        known = shelf.of(generation)
        others = [entry for entry in shelf.entries if entry is not known]
        # The clock may have been put back, and copied files may say anything: what is so now comes first.
        stood_at = _after((entry.stood_at for entry in others), now)
        kept_at, reason = _after((entry.kept_at for entry in others), now), good.reason
        if known is not None and good.gone_back_to:
            kept_at, reason = known.kept_at, known.reason
        kept = Kept(
            generation.digest, generation.source, kept_at, stood_at, reason, generation.written, good.instead_of
        )
        self._write(kept)
        self._make_room(others)
        return kept

    def _write(self, kept: Kept) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(self.directory.stat().st_mode) & 0o077:
            self.directory.chmod(0o700)
        unfinished = self.directory / f"{_UNFINISHED}{secrets.token_hex(8)}{_SUFFIX}"
        try:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(to_text(kept))
                stream.flush()
                os.fsync(stream.fileno())
            unfinished.replace(self.directory / f"{kept.identity}{_SUFFIX}")
        finally:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a file system that cannot is no reason to have kept nothing
            descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _make_room(self, others: list[Kept]) -> None:
        for entry in others[MOST - 1 :]:
            with contextlib.suppress(OSError):
                (self.directory / f"{entry.identity}{_SUFFIX}").unlink(missing_ok=True)
        for file in self.directory.glob(f"{_UNFINISHED}*"):
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > _STALE:
                    file.unlink()


def _after(moments: Iterable[float], now: float) -> float:
    """Now, or just after the last of these."""
    return max([now, *(moment + 1e-3 for moment in moments)])


def _private_text(file: Path) -> str:
    """Raises OSError, or ValueError where the file is not one that only this user could have written."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, encoding="utf-8", errors="strict") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is not a file")
        if stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid != os.geteuid():
            raise ValueError(f"others can read or change it; if it is yours: chmod 600 {file}")
        if found.st_size > MOST_BYTES:
            raise ValueError("it is too large")
        return stream.read(MOST_BYTES)
