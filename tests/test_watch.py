"""A change is noticed, however it was made. Real files, and each time twice: by the kernel's word, and by looking."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest
import watchfiles

from supervisor import watch
from supervisor.watch import FileWatch, WatchRules
from tests.eventually import eventually

NEVER = 3600.0
BRISK = WatchRules(debounce=0.01)


class Watched:
    """A watch on some paths, and a way to wait for what it says."""

    def __init__(self, look_every: float) -> None:
        self.changes: asyncio.Queue[None] = asyncio.Queue()
        self.watch = FileWatch(self._changed, BRISK, look_every=look_every)
        self.by_kernel = look_every == NEVER

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
            await self.changes.get()  # that the paths are new
            while self.changes.empty():
                sentinel.write_text(str(os.times().elapsed))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await self.changes.get()
                        break
        await self.is_quiet()

    async def is_quiet(self) -> None:
        """What earlier writes still cause must not be taken for the change under test."""
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.12):
                    await self.changes.get()


Watching = Callable[..., contextlib.AbstractAsyncContextManager[Watched]]


def kernel_refuses(*_: object, **__: object) -> None:
    raise OSError(28, "OS file watch limit reached")


@pytest.fixture(params=["kernel", "look"])
def watching(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Watching:
    """Watches paths by the kernel's word only, or, where that is refused, by looking only."""
    if request.param == "look":
        monkeypatch.setattr(watchfiles, "awatch", kernel_refuses)
    monkeypatch.setattr(watch, "STEP", 5)

    @contextlib.asynccontextmanager
    async def begin(paths: Iterable[Path], *, look_every: float = NEVER) -> AsyncIterator[Watched]:
        watched = Watched(0.02 if request.param == "look" else look_every)
        sentinel = tmp_path / "sentinel"
        watched.watch.watch([*paths, sentinel])
        task = asyncio.create_task(watched.watch.run())
        try:
            await watched.is_armed(sentinel)
            yield watched
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    return begin


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "litellm.config.yaml"
    path.write_text("model_list: []\n")
    return path


def swap_link(link: Path, target: str) -> None:
    """As Kubernetes and `ln -sfn` by way of a rename do it: at no moment is there no link."""
    new = link.with_name(f"{link.name}.new")
    new.symlink_to(target)
    new.rename(link)


async def test_a_write_is_noticed(watching: Watching, config: Path) -> None:
    async with watching([config]) as watched:
        config.write_text("model_list: [] # changed\n")
        assert await watched.says_so()


async def test_a_change_of_permissions_is_noticed(watching: Watching, config: Path) -> None:
    async with watching([config]) as watched:
        config.chmod(0o600)
        assert await watched.says_so()


async def test_an_editors_rename_on_save_is_noticed(watching: Watching, config: Path, tmp_path: Path) -> None:
    async with watching([config]) as watched:
        for turn in range(2):  # the second time proves that the new file is watched too
            new = tmp_path / ".litellm.config.yaml.swp"
            new.write_text(f"model_list: [] # {turn}\n")
            new.rename(config)
            assert await watched.says_so()
            await watched.is_quiet()


async def test_a_file_that_appears_is_noticed(watching: Watching, config: Path, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    async with watching([config, dotenv]) as watched:
        dotenv.write_text("A=1\n")
        assert await watched.says_so()


async def test_a_file_that_goes_and_comes_back_is_noticed_both_times(watching: Watching, config: Path) -> None:
    async with watching([config]) as watched:
        for _ in range(2):
            text = config.read_text()
            config.unlink()
            assert await watched.says_so()
            await watched.is_quiet()
            config.write_text(text)
            assert await watched.says_so()
            await watched.is_quiet()


async def test_a_file_that_nobody_asked_about_is_not_reported(watching: Watching, config: Path, tmp_path: Path) -> None:
    async with watching([config]) as watched:
        (tmp_path / "notes.txt").write_text("nothing to do with it")
        await asyncio.sleep(0)
        assert watched.changes.empty()
        (tmp_path / "sentinel").write_text("after it")
        assert await watched.says_so()
        await asyncio.sleep(0)
        assert watched.changes.empty()


async def test_exchanging_the_paths_moves_the_watch(watching: Watching, config: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = elsewhere / "other.yaml"
    async with watching([config]) as watched:
        watched.watch.watch([other])
        await watched.is_armed(other)
        other.write_text("new\n")
        assert await watched.says_so()


async def test_new_paths_count_as_a_change_once_because_they_may_have_changed_since_they_were_read(
    watching: Watching, config: Path, tmp_path: Path
) -> None:
    async with watching([config]) as watched:
        for _ in range(2):
            watched.watch.watch([config, tmp_path / "other.yaml"], group="settings")
        assert await watched.says_so()
        await watched.is_quiet()
        watched.watch.watch([], group="settings")
        watched.watch.watch([config], group="settings")
        await watched.is_quiet()
        (tmp_path / "other.yaml").write_text("nobody watches it any more")
        config.write_text("one group left it, the other did not\n")
        assert await watched.says_so()


async def test_a_kubernetes_config_map_that_is_exchanged_is_noticed(watching: Watching, tmp_path: Path) -> None:
    """The name that is watched is a link by way of a link, and only the one in the middle changes."""
    home = tmp_path / "mounted"
    for version in ("..one", "..two"):
        (home / version).mkdir(parents=True)
        (home / version / "config.yaml").write_text(version)
    (home / "..data").symlink_to("..one")
    (home / "config.yaml").symlink_to("..data/config.yaml")
    async with watching([home / "config.yaml"]) as watched:
        for version in ("..two", "..one"):
            swap_link(home / "..data", version)
            assert await watched.says_so()
            await watched.is_quiet()


async def test_a_link_to_a_directory_further_up_the_path_that_is_exchanged_is_noticed(
    watching: Watching, tmp_path: Path
) -> None:
    for version in ("1", "2"):
        (tmp_path / "releases" / version / "etc").mkdir(parents=True)
        (tmp_path / "releases" / version / "etc" / "config.yaml").write_text(version)
    (tmp_path / "current").symlink_to(tmp_path / "releases" / "1")
    config = tmp_path / "current" / "etc" / "config.yaml"
    async with watching([config]) as watched:
        swap_link(tmp_path / "current", "releases/2")
        assert await watched.says_so()
        await watched.is_quiet()
        (tmp_path / "releases" / "2" / "etc" / "config.yaml").write_text("where it leads to now")
        assert await watched.says_so()


async def test_a_directory_that_appears_later_is_noticed(watching: Watching, tmp_path: Path) -> None:
    config = tmp_path / "mounted" / "later" / "config.yaml"
    async with watching([config]) as watched:
        for directory in (config.parent.parent, config.parent):
            directory.mkdir()
            if watched.by_kernel:  # whose word is that something happened; what is looked at are the files
                assert await watched.says_so()
            await watched.is_quiet()
        config.write_text("model_list: []\n")
        assert await watched.says_so()


async def test_a_directory_that_another_takes_the_place_of_is_noticed_and_followed(
    watching: Watching, tmp_path: Path
) -> None:
    config = tmp_path / "etc" / "config.yaml"
    for name in ("etc", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(name)
    async with watching([config], look_every=0.1) as watched:
        (tmp_path / "etc").rename(tmp_path / "old")
        (tmp_path / "new").rename(tmp_path / "etc")
        assert await watched.says_so()
        await watched.is_quiet()
        config.write_text("in the new directory")
        assert await watched.says_so()


async def test_rapid_saves_are_told_once_when_they_are_over(
    watching: Watching, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching([config]) as watched:
        watched.watch.rule(WatchRules(debounce=60.0))  # however long it takes to notice one of them
        noticed = asyncio.Event()
        stir = watched.watch._stirred.set

        def stirred() -> None:
            stir()
            noticed.set()

        monkeypatch.setattr(watched.watch._stirred, "set", stirred)
        for turn in range(4):
            noticed.clear()
            config.write_text("model_list: [half" + "." * turn)
            async with asyncio.timeout(10):
                await noticed.wait()
        assert watched.changes.empty()
        watched.watch.rule(WatchRules(debounce=0.4))
        config.write_text("model_list: []")
        assert await watched.says_so()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.6):
                await watched.changes.get()
                raise AssertionError("told twice")


async def test_a_file_that_never_comes_to_rest_is_told_of_all_the_same(watching: Watching, config: Path) -> None:
    async with watching([config]) as watched:
        watched.watch.rule(WatchRules(debounce=0.03))

        async def scribble() -> None:
            while True:
                config.write_text(str(os.times().elapsed) * 3)
                await asyncio.sleep(0.005)

        scribbling = asyncio.create_task(scribble())
        try:
            assert await watched.says_so()
        finally:
            scribbling.cancel()


async def test_what_happened_while_it_was_switched_off_counts_when_it_is_switched_on(
    watching: Watching, config: Path
) -> None:
    async with watching([config]) as watched:
        watched.watch.rule(WatchRules(debounce=0.01, enabled=False))
        await watched.is_quiet()
        config.write_text("unseen\n")
        await watched.is_quiet()
        assert watched.changes.empty()
        watched.watch.rule(BRISK)
        assert await watched.says_so()


async def test_one_that_is_told_and_fails_is_told_again(config: Path) -> None:
    told = 0

    async def changed() -> None:
        nonlocal told
        told += 1
        raise OSError(28, "No space left on device")

    failing = FileWatch(changed, BRISK, look_every=0.01)
    failing.watch([config])
    task = asyncio.create_task(failing.run())
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


@pytest.mark.parametrize("target", ["config.yaml", "other.yaml"])
async def test_links_that_lead_in_circles_do_no_harm(watching: Watching, tmp_path: Path, target: str) -> None:
    config = tmp_path / "config.yaml"
    config.symlink_to(target)
    (tmp_path / "other.yaml").symlink_to("config.yaml")
    async with watching([config]) as watched:
        config.unlink()
        config.write_text("model_list: []\n")
        assert await watched.says_so()
