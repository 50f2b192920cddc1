"""A generation is good when it has served everywhere for a while in which nothing happened."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from supervisor import events as ev
from supervisor.history import keeper
from supervisor.history.keeper import Keeper
from supervisor.history.store import History, InForce
from tests.eventually import eventually
from tests.history.test_store import SOURCE, generation

COMPLETED = ev.RolloutCompleted("a", 1.0)
CRASHED = ev.ReplicaExited(1, 1, "a", 100, "exit 1", expected=False)


class Scene:
    def __init__(self, folder: Path, settle: float) -> None:
        self.history = History(folder, SOURCE)
        self.serves: InForce | None = None
        self.asked = 0
        self.events = ev.Events()
        self.seen: list[ev.Event] = []
        self.events.subscribe(self.seen.append)
        self.keeper = Keeper(self.history, settle=lambda: settle, in_force=self._in_force, events=self.events)
        self.events.subscribe(self.keeper.on_event)

    def _in_force(self) -> InForce | None:
        self.asked += 1
        return self.serves

    def of(self, kind: type[ev.Event]) -> list[ev.Event]:
        return [event for event in self.seen if isinstance(event, kind)]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.keeper.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, 0.01)


async def test_what_serves_everywhere_is_kept_once(scene: Scene) -> None:
    async with scene.running():
        scene.serves = InForce(generation("a"), "start")
        for asked in (1, 2, 3):  # the third look comes when the second is over
            scene.events.publish(COMPLETED)
            await eventually(lambda asked=asked: scene.asked == asked, what="it has looked")
        await eventually(lambda: bool(scene.of(ev.GenerationKept)), what="it is kept")
    assert len(scene.of(ev.GenerationKept)) == 1
    assert [kept.reason for kept in scene.history.shelf().entries] == ["start"]


async def test_what_does_not_serve_everywhere_is_not_kept(scene: Scene) -> None:
    async with scene.running():
        scene.events.publish(COMPLETED)
        await eventually(lambda: scene.asked == 1, what="it has looked")
    assert scene.history.shelf().entries == ()


async def test_while_replicas_crash_nothing_has_proved_good(tmp_path: Path) -> None:
    scene = Scene(tmp_path, 3600.0)
    async with scene.running():
        scene.serves = InForce(generation("a"), "start")
        scene.events.publish(COMPLETED)
        for _ in range(5):
            await asyncio.sleep(0)
            scene.events.publish(CRASHED)
        assert scene.asked == 0


async def test_an_expected_exit_and_a_request_do_not_disturb(scene: Scene) -> None:
    async with scene.running():
        scene.events.publish(ev.ReplicaExited(1, 1, "a", 100, "exit 0", expected=True))
        scene.events.publish(ev.RequestFinished("POST", "chat", 200, "answered", 1, 1, 0.1, "x"))
        await asyncio.sleep(0)
        assert not scene.keeper._happened.is_set()


async def test_a_disk_that_has_room_again_is_found_out_without_anything_else_happening(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "TRY_AGAIN", 0.02)
    scene.history.directory.parent.joinpath("history").write_text("a file where the directory should be")
    async with scene.running():
        scene.serves = InForce(generation("a"), "start")
        scene.events.publish(COMPLETED)
        await eventually(lambda: scene.asked > 2, what="it tries again")
        assert len(scene.of(ev.GenerationNotKept)) == 1, "said once"
        scene.history.directory.unlink()
        await eventually(lambda: bool(scene.of(ev.GenerationKept)), what="it is kept after all")


async def test_a_disk_that_cannot_be_written_is_a_warning_until_it_can(scene: Scene) -> None:
    scene.history.directory.parent.joinpath("history").write_text("a file where the directory should be")
    async with scene.running():
        scene.serves = InForce(generation("a"), "start")
        scene.events.publish(COMPLETED)
        await eventually(lambda: bool(scene.of(ev.GenerationNotKept)), what="it is said")
        assert str(scene.history.directory) in scene.keeper.problem
        scene.history.directory.unlink()
        scene.events.publish(COMPLETED)
        await eventually(lambda: bool(scene.of(ev.GenerationKept)), what="it is kept after all")
    assert scene.keeper.problem == ""
