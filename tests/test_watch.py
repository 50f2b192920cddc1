"""A change is noticed, however it was made. Real files and the real watcher."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
import watchfiles

from supervisor.watch import FileWatch
from tests.eventually import eventually


class Watched:
    """A watch on some paths, and a way to wait for what it says."""

    def __init__(self, look_every: float) -> None:
        self.changes: asyncio.Queue[None] = asyncio.Queue()
        self.watch = FileWatch(self._changed, debounce=0.01, look_every=look_every)

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
async def watching(paths: Iterable[Path], sentinel: Path, look_every: float = 3600.0) -> AsyncIterator[Watched]:
    """Unless told otherwise, nothing but the kernel's word counts."""
    watched = Watched(look_every)
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


def kernel_refuses(*_: object, **__: object) -> None:
    raise OSError(28, "OS file watch limit reached")


async def test_without_a_watch_of_the_kernels_the_files_are_looked_at(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchfiles, "awatch", kernel_refuses)
    async with watching([config], tmp_path / "sentinel", look_every=0.01) as watched:
        config.write_text("model_list: [] # changed\n")
        assert await watched.says_so()


async def test_a_directory_that_is_exchanged_as_a_whole_is_noticed(tmp_path: Path) -> None:
    """As Kubernetes exchanges a ConfigMap: the name that is watched is a link by way of a link."""
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "config.yaml").write_text(version)
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "config.yaml").symlink_to("data/config.yaml")
    async with watching([tmp_path / "config.yaml"], tmp_path / "sentinel", look_every=0.01) as watched:
        (tmp_path / "new").symlink_to("two")
        (tmp_path / "new").rename(tmp_path / "data")
        assert await watched.says_so()


async def test_one_that_is_told_and_fails_is_told_again(config: Path) -> None:
    told = 0

    async def changed() -> None:
        nonlocal told
        told += 1
        raise OSError(28, "No space left on device")

    watch = FileWatch(changed, debounce=0.01, look_every=0.01)
    watch.watch([config])
    task = asyncio.create_task(watch.run())
    try:
        for turn in range(3):
            before = told
            config.write_text("#" * turn)
            await eventually(lambda before=before: told > before, what="it is told")
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
