"""Tells when one of a set of files changed, however it was changed.

The directories are watched, not the files: an editor that writes a new file and renames it over the old one changes
only the directory. The kernel's word is quick but not complete (a directory that is replaced, a file system that tells
nothing, no watch left to be had), so the files are also looked at now and then. What a change means is somebody else's
question, so saying it once too often does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import structlog
import watchfiles

LOOK_EVERY = 2.0
"""Seconds between two looks at the files themselves."""

LISTEN_AGAIN = 30.0
"""Seconds until the kernel is asked again after it refused to watch."""

Signature = frozenset[tuple[Path, int, int, int, int]]
log = structlog.get_logger("litesup.watch")


class FileWatch:
    """Watches a set of paths, which may be exchanged at any time and need not exist."""

    def __init__(
        self, changed: Callable[[], Awaitable[object]], *, debounce: float, look_every: float = LOOK_EVERY
    ) -> None:
        self._changed = changed
        self._debounce = debounce
        self._look_every = look_every
        self._paths: frozenset[Path] = frozenset()
        self._seen: Signature = frozenset()
        self._exchanged = asyncio.Event()

    def watch(self, paths: Iterable[Path]) -> None:
        """Watches these paths from now on."""
        new = frozenset(_with_targets(paths))
        if new != self._paths:
            self._paths = new
            self._seen = _signature(new)
            self._exchanged.set()

    async def run(self) -> None:
        """Runs until it is cancelled, whatever becomes of the files and of those who are told."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(), name="watch: listen")
            group.create_task(self._look(), name="watch: look")

    async def _listen(self) -> None:
        while True:
            self._exchanged.clear()
            directories = sorted({path.parent for path in self._paths if path.parent.is_dir()})
            if directories:
                try:
                    await self._listen_to(directories)
                except (OSError, RuntimeError) as error:
                    log.warning("file_watch_failed", reason=str(error), looking_every=self._look_every)
                else:
                    continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LISTEN_AGAIN):
                    await self._exchanged.wait()

    async def _listen_to(self, directories: list[Path]) -> None:
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
            self._seen = await asyncio.to_thread(_signature, self._paths)
            await self._tell()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._look_every)
            paths = self._paths
            now = await asyncio.to_thread(_signature, paths)
            if paths == self._paths and now != self._seen:
                self._seen = now
                self._exchanged.set()  # the kernel did not tell, so it may be watching what is not there any more
                await self._tell()

    async def _tell(self) -> None:
        try:
            await self._changed()
        except Exception:  # the next change is to be noticed all the same
            log.exception("file_change_failed")


def _with_targets(paths: Iterable[Path]) -> Iterable[Path]:
    """The paths, and where symbolic links among them lead."""
    for path in paths:
        yield path
        with contextlib.suppress(OSError, RuntimeError):  # a link that leads to itself
            if path.is_symlink():
                yield path.resolve()


def _signature(paths: Iterable[Path]) -> Signature:
    """What is different when a file is: which file it is, its size, and when it was written."""
    found = set()
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            status = path.stat()
            found.add((path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    return frozenset(found)
