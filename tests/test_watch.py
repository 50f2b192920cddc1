"""A change is noticed, however it was made. Real files and the real watcher."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from supervisor.watch import FileWatch


class Watched:
    """A watch on some paths, and a way to wait for what it says."""

    def __init__(self) -> None:
        self.changes: asyncio.Queue[None] = asyncio.Queue()
        self.watch = FileWatch(self._changed, debounce=0.01)

    async def _changed(self) -> None:
        self.changes.put_nowait(None)

    async def says_so(self) -> bool:
        """Whether a change is reported before a generous deadline."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await self.changes.get()
                return True
        return False

    async def is_armed(self, sentinel: Path) -> None:
        """Touches a watched file until the watcher reports it: from then on nothing is missed."""
        async with asyncio.timeout(10):
            while self.changes.empty():
                sentinel.write_text(str(os.times().elapsed))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await self.changes.get()
                        break
        # What the sentinel's last writes still cause must not be taken for the change under test.
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.5):
                    await self.changes.get()


@contextlib.asynccontextmanager
async def watching(paths: Iterable[Path], sentinel: Path) -> AsyncIterator[Watched]:
    watched = Watched()
    watched.watch.watch([*paths, sentinel])
    task = asyncio.create_task(watched.watch.run())
    try:
        await watched.is_armed(sentinel)
        yield watched
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "litellm.config.yaml"
    path.write_text("model_list: []\n")
    return path


async def test_a_write_is_noticed(config: Path, tmp_path: Path) -> None:
    async with watching([config], tmp_path / "sentinel") as watched:
        config.write_text("model_list: [] # changed\n")
        assert await watched.says_so()


async def test_an_editors_rename_on_save_is_noticed(config: Path, tmp_path: Path) -> None:
    async with watching([config], tmp_path / "sentinel") as watched:
        for turn in range(2):  # the second time proves that the new file is watched too
            new = tmp_path / ".litellm.config.yaml.swp"
            new.write_text(f"model_list: [] # {turn}\n")
            new.rename(config)
            assert await watched.says_so()
            while not watched.changes.empty():
                watched.changes.get_nowait()


async def test_a_file_that_appears_is_noticed(config: Path, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    async with watching([config, dotenv], tmp_path / "sentinel") as watched:
        dotenv.write_text("A=1\n")
        assert await watched.says_so()


async def test_a_file_that_nobody_asked_about_is_not_reported(config: Path, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    async with watching([config], sentinel) as watched:
        (tmp_path / "notes.txt").write_text("nothing to do with it")
        assert watched.changes.empty()
        sentinel.write_text("after it")
        assert await watched.says_so()
        assert watched.changes.empty()


async def test_exchanging_the_paths_moves_the_watch(config: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = elsewhere / "other.yaml"
    async with watching([config], tmp_path / "sentinel") as watched:
        watched.watch.watch([other])
        await watched.is_armed(other)
        other.write_text("new\n")
        assert await watched.says_so()
