"""What a daemon starts with: what is on disk, or the last good one instead."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from supervisor import events as ev
from supervisor.control.operations import ReloadOutcome, ReloadResult
from supervisor.errors import ConfigurationRefused
from tests.reload_scene import GOOD, Scene, keep, name_of, save, start


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_a_broken_file_at_start_is_refused_unless_the_last_good_one_is_asked_for(scene: Scene) -> None:
    await save(scene, "first")
    scene.config.write_text("model_list: [\n")
    with pytest.raises(ConfigurationRefused) as refused:
        scene.reloader.first(last_good=False)
    assert "last good" not in str(refused.value)
    await start(scene)
    assert name_of(scene.fleet.wanted) == "first"
    on_disk = scene.reloader.on_disk
    assert on_disk.note.startswith("serving the last good configuration, of 20")
    assert str(scene.config) in on_disk.note
    assert on_disk.refusal is not None
    [event] = [event for event in scene.seen if isinstance(event, ev.LastGoodStarted)]
    assert event.problems == on_disk.refusal.problems


async def test_without_a_history_the_refusal_says_that_there_is_none(scene: Scene) -> None:
    scene.config.write_text("model_list: [\n")
    with pytest.raises(ConfigurationRefused, match="no last good configuration"):
        scene.reloader.first(last_good=True)


async def test_a_last_good_one_that_cannot_be_made_gives_way_to_an_older_one(scene: Scene) -> None:
    await save(scene, "first")
    scene.reloader._environ = {"NAME_OF_IT": "second"}
    scene.config.write_text(GOOD.format(name="${NAME_OF_IT}"))
    await scene.reload()
    keep(scene)
    scene.config.unlink()
    scene.reloader._environ = {}
    await start(scene)
    assert name_of(scene.fleet.wanted) == "first"


async def test_once_the_file_is_mended_it_is_rolled_out_and_the_note_goes(scene: Scene) -> None:
    await save(scene, "first")
    scene.config.write_text("model_list: [\n")
    await start(scene)
    await save(scene, "second")
    assert name_of(scene.fleet.wanted) == "second"
    assert scene.reloader.on_disk.note == ""
    assert scene.reloader.on_disk.refusal is None


async def test_what_the_operator_went_back_from_is_not_started_either_while_it_stays_as_it_is(scene: Scene) -> None:
    for name in ("first", "second"):
        await save(scene, name)
    await scene.reloader.rollback(None, wait=True)
    keep(scene)
    seen = len(scene.generations)
    await start(scene)
    assert name_of(scene.fleet.wanted) == "first"
    assert "rolled back by the operator" in scene.reloader.on_disk.note
    assert {name_of(generation) for generation in scene.generations[seen:]} == {"first", "second"}, "both are redacted"
    await start(scene, last_good=False)
    assert name_of(scene.fleet.wanted) == "second", "without --last-good the file is what is started"
    scene.config.write_text(GOOD.format(name="third"))
    await start(scene)
    assert name_of(scene.fleet.wanted) == "third"


async def test_a_changed_file_is_started_with_the_last_good_one_to_fall_back_to(scene: Scene) -> None:
    await save(scene, "first")
    scene.config.write_text(GOOD.format(name="second"))
    scene.fleet.result = None
    await start(scene)
    assert name_of(scene.fleet.wanted) == "second"
    fallback = scene.fleet.fallbacks[-1]
    assert fallback is not None
    assert fallback.config_path.exists()
    assert name_of(fallback.generation) == "first"
    scene.fleet.wanted = fallback.generation
    scene.fleet.futures[-1].set_result(ReloadOutcome(ReloadResult.ROLLED_BACK, "second", ("exit 3",)))
    await asyncio.sleep(0)
    assert scene.reloader.on_disk.note.endswith("because: exit 3")
    assert any("second" in line for line in scene.reloader.on_disk.difference)


async def test_an_unchanged_file_is_started_without_anything_to_fall_back_to(scene: Scene) -> None:
    await save(scene, "first")
    await start(scene)
    assert scene.fleet.fallbacks[-1] is None


async def test_a_damaged_history_is_named_and_hinders_nothing(scene: Scene) -> None:
    await save(scene, "first")
    (scene.history.directory / "0.json").write_text("{")
    (scene.history.directory / "0.json").chmod(0o600)
    await start(scene)
    [event] = [event for event in scene.seen if isinstance(event, ev.HistorySkipped)]
    assert "0.json" in event.reason
    assert name_of(scene.fleet.wanted) == "first"
