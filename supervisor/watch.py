"""Tells when one of a set of files changed, however it was changed.

Directories are watched, not files: an editor that writes a new file and renames it over the old one changes only the
directory. Watched are the directory of the file itself and that of every link on the way to it (configuration
management and Kubernetes exchange a link to a directory), and, where the way ends early, the last directory that is
there. The kernel's word is quick but not complete (a directory that is replaced, a file system that tells nothing, no
watch left to be had), so the files are also looked at now and then.

Whoever saves may do so in several steps: what changed is told when it has been quiet for a while. What a change means
is somebody else's question, so saying it once too often does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
import watchfiles

LOOK_EVERY = 2.0
"""Seconds between two looks at the files themselves."""

LISTEN_AGAIN = 30.0
"""Seconds until the kernel is asked again after it refused to watch."""

STEP = 150
"""Milliseconds between two questions to the kernel's queue: each wakes a thread, for as long as the daemon lives."""

MOST_PATIENCE = 20
"""Debounces after which a change is told although the files are still being written."""

MOST_LINKS = 40  # as the kernel follows

Signature = frozenset[tuple[Path, int, int, int, int, int]]
log = structlog.get_logger("litesup.watch")


@dataclass(frozen=True, slots=True)
class WatchRules:
    """`debounce`: seconds without a further change before one is told. Not `enabled`, nothing is noticed."""

    debounce: float
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Ways:
    """The ways to some paths: the entries of which a change matters, and the directories that hold them.

    Neither has a link in its own path. A directory has its device and inode with it: another may take its name.
    """

    entries: frozenset[Path] = frozenset()
    directories: tuple[tuple[Path, int, int], ...] = ()

    @classmethod
    def to(cls, paths: Iterable[Path]) -> Ways:
        entries = frozenset(entry for path in paths for entry in _way(path))
        directories = []
        for path in sorted({entry.parent for entry in entries}):
            with contextlib.suppress(OSError):
                status = path.stat()
                if stat.S_ISDIR(status.st_mode):
                    directories.append((path, status.st_dev, status.st_ino))
        return cls(entries, tuple(directories))


class FileWatch:
    """Watches groups of paths, each of which may be exchanged at any time; no path need exist."""

    def __init__(
        self, changed: Callable[[], Awaitable[object]], rules: WatchRules, *, look_every: float = LOOK_EVERY
    ) -> None:
        self._changed = changed
        self._rules = rules
        self._look_every = look_every
        self._groups: dict[str, frozenset[Path]] = {}
        self._ways = Ways()
        self._seen: Signature = frozenset()
        self._exchanged = asyncio.Event()
        self._stirred = asyncio.Event()

    def watch(self, paths: Iterable[Path], group: str = "configuration") -> None:
        """Watches these absolute paths in place of the group's former ones.

        Whoever names them has read them before, and they may have changed since: new ones count as a change, once.
        """
        before, new = self._paths, frozenset(paths)
        if self._groups.get(group) == new:
            return
        self._groups[group] = new
        self._exchanged.set()
        if new - before:
            self._stirred.set()

    def rule(self, rules: WatchRules) -> None:
        """Goes by these rules from now on."""
        before, self._rules = self._rules, rules
        if rules.enabled is not before.enabled:
            self._exchanged.set()
            self._stirred.set()  # what happened meanwhile counts

    async def run(self) -> None:
        """Runs until it is cancelled, whatever becomes of the files and of those who are told."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(), name="watch: listen")
            group.create_task(self._look(), name="watch: look")
            group.create_task(self._settle(), name="watch: settle")

    @property
    def _paths(self) -> frozenset[Path]:
        return frozenset(path for group in self._groups.values() for path in group)

    async def _listen(self) -> None:
        while True:
            self._exchanged.clear()
            self._ways = await asyncio.to_thread(Ways.to, self._paths)
            if self._ways.directories and self._rules.enabled:
                try:
                    await self._listen_to(self._ways)
                except (OSError, RuntimeError) as error:
                    log.warning("file_watch_failed", reason=str(error), looking_every=self._look_every)
                else:
                    continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LISTEN_AGAIN):
                    await self._exchanged.wait()

    async def _listen_to(self, ways: Ways) -> None:
        """Until the paths are exchanged, or one of them leads elsewhere."""
        directories = [path for path, *_ in ways.directories]
        of_interest = ways.entries.union(directories)
        changes = watchfiles.awatch(
            *directories,
            watch_filter=lambda _change, path: Path(path) in of_interest,
            stop_event=self._exchanged,
            debounce=STEP,  # how long to wait for more is said by our own rules
            step=STEP,
            recursive=False,
            ignore_permission_denied=True,
        )
        async for _ in changes:
            self._stirred.set()
            await self._follow()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._look_every)
            if self._rules.enabled:
                if await asyncio.to_thread(_signature, self._paths) != self._seen:
                    self._stirred.set()
                await self._follow()

    async def _follow(self) -> None:
        """Where a path leads elsewhere by now, what is listened to is not what it was."""
        if await asyncio.to_thread(Ways.to, self._paths) != self._ways:
            self._exchanged.set()

    async def _settle(self) -> None:
        """Tells of changes, one at a time, when they are over."""
        loop = asyncio.get_running_loop()
        while True:
            await self._stirred.wait()
            deadline = loop.time() + MOST_PATIENCE * self._rules.debounce
            at_rest = False
            while not at_rest and loop.time() < deadline:
                self._stirred.clear()
                before = await asyncio.to_thread(_signature, self._paths)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._rules.debounce):
                        await self._stirred.wait()
                self._seen = await asyncio.to_thread(_signature, self._paths)
                at_rest = self._seen == before and not self._stirred.is_set()
            if self._rules.enabled:
                await self._tell()

    async def _tell(self) -> None:
        try:
            await self._changed()
        except Exception:  # the next change is to be noticed all the same
            log.exception("file_change_failed")


def _way(path: Path) -> Iterator[Path]:
    """Each link on the way to `path`, then the file, or the first thing that is missing."""
    here, ahead, links = Path(path.anchor), [*reversed(path.parts[1:])], 0
    while ahead:
        part = ahead.pop()
        if part == "..":
            here = here.parent
            continue
        entry = here / part
        try:
            if not stat.S_ISLNK(entry.lstat().st_mode):
                here = entry
                continue
            target = entry.readlink()
        except OSError:
            yield entry
            return
        yield entry
        links += 1
        if links > MOST_LINKS:
            return
        here = Path(target.anchor) if target.is_absolute() else here
        ahead += reversed(target.parts[1:] if target.is_absolute() else target.parts)
    yield here


def _signature(paths: Iterable[Path]) -> Signature:
    """What is different when a file is: which file it is, its size, and when it was last touched."""
    found = set()
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            status = path.stat()
            # The second time also tells of permissions, and of a writer that sets the first one back.
            times = status.st_mtime_ns, status.st_ctime_ns
            found.add((path, status.st_dev, status.st_ino, status.st_size, *times))
    return frozenset(found)
