"""Tells when one of a set of files changed, however it was changed.

The directories are watched, not the files: an editor that writes a new file and renames it over the old one changes
only the directory. What a change means is somebody else's question, so saying it once too often does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import watchfiles


class FileWatch:
    """Watches a set of paths, which may be exchanged at any time and need not exist."""

    def __init__(self, changed: Callable[[], Awaitable[None]], *, debounce: float) -> None:
        self._changed = changed
        self._debounce = debounce
        self._paths: frozenset[Path] = frozenset()
        self._exchanged = asyncio.Event()

    def watch(self, paths: Iterable[Path]) -> None:
        """Watches these paths from now on."""
        new = frozenset(_with_targets(paths))
        if new != self._paths:
            self._paths = new
            self._exchanged.set()

    async def run(self) -> None:
        """Runs until it is cancelled."""
        while True:
            self._exchanged.clear()
            directories = sorted({path.parent for path in self._paths if path.parent.is_dir()})
            if not directories:
                await self._exchanged.wait()
                continue
            await self._watch_once(directories)

    async def _watch_once(self, directories: list[Path]) -> None:
        """Until the set of paths is exchanged."""
        changes = watchfiles.awatch(
            *directories,
            watch_filter=lambda _change, path: Path(path) in self._paths,
            stop_event=self._exchanged,
            debounce=max(1, int(self._debounce * 1000)),
            step=50,
            recursive=False,
            ignore_permission_denied=True,
        )
        async for _ in changes:
            await self._changed()


def _with_targets(paths: Iterable[Path]) -> Iterable[Path]:
    """The paths, and where symbolic links among them lead."""
    for path in paths:
        yield path
        if path.is_symlink():
            yield path.resolve()
