"""Going back: to what, for how long, and what is said meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from supervisor import events as ev
from supervisor.control.operations import ReloadOutcome, ReloadResult
from tests.eventually import eventually
from tests.reload_scene import GOOD, Scene, keep, name_of, save


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_a_rollback_returns_to_the_good_one_before_and_says_so(scene: Scene) -> None:
    for name in ("first", "second"):
        await save(scene, name)
    second = scene.fleet.wanted
    assert second is not None
    outcome = await scene.reloader.rollback(None, wait=True)
    assert outcome.result is ReloadResult.ROLLED
    assert name_of(scene.fleet.wanted) == "first"
    assert scene.fleet.wants[-1][2] == "rolled back by the operator"
    assert "rolled back by the operator; the file on disk differs" in scene.reloader.on_disk.note
    assert scene.reloader.on_disk.digest == second.digest
    assert any("second" in line for line in scene.reloader.on_disk.difference)
    assert [e.previous for e in scene.seen if isinstance(e, ev.RolledBackByOperator)] == [second.digest]


async def test_each_further_rollback_goes_further_back_and_never_forward(scene: Scene) -> None:
    for name in ("first", "second", "third"):
        await save(scene, name)
    for expected in ("second", "first"):
        await scene.reloader.rollback(None, wait=True)
        keep(scene)
        assert name_of(scene.fleet.wanted) == expected
    outcome = await scene.reloader.rollback(None, wait=True)
    assert outcome.result is ReloadResult.REFUSED
    assert "before generation" in outcome.problems[0]
    assert name_of(scene.fleet.wanted) == "first"


async def test_a_file_that_stays_as_it_is_is_not_applied_again_by_itself(scene: Scene) -> None:
    for name in ("first", "second"):
        await save(scene, name)
    await scene.reloader.rollback(None, wait=True)
    for _ in range(3):
        scene.fleet.result = ReloadResult.UNCHANGED
        await scene.reload()
        assert name_of(scene.fleet.wanted) == "first"
    scene.config.write_text("model_list: [\n")
    await scene.reload()
    scene.config.write_text(GOOD.format(name="second"))
    await scene.reload()
    assert name_of(scene.fleet.wanted) == "first", "broken and mended, it says what was gone back from"


@pytest.mark.parametrize("how", ["changed", "told"])
async def test_it_is_applied_once_it_changes_or_somebody_says_so(scene: Scene, how: str) -> None:
    for name in ("first", "second"):
        await save(scene, name)
    await scene.reloader.rollback(None, wait=True)
    if how == "changed":
        await save(scene, "third")
        assert name_of(scene.fleet.wanted) == "third"
        await save(scene, "second")
    else:
        await scene.reloader.reload(reason="reload", wait=True, again=True)
    assert name_of(scene.fleet.wanted) == "second"
    assert scene.reloader.on_disk.note == ""


async def test_a_rollback_that_fails_leaves_the_one_before_it_in_force(scene: Scene) -> None:
    for name in ("first", "second", "third"):
        await save(scene, name)
    await scene.reloader.rollback(None, wait=True)
    keep(scene)
    second = scene.fleet.wanted
    await scene.reloader.rollback(None, wait=True)
    scene.fleet.wanted = second  # the canary of the first fell
    assert "rolled back by the operator" in scene.reloader.on_disk.note
    await scene.reload()
    assert name_of(scene.fleet.wanted) == "second", "the third was gone back from"


async def test_an_environment_that_fails_does_not_end_what_the_operator_chose(scene: Scene) -> None:
    for name in ("first", "second"):
        await save(scene, name)
    await scene.reloader.rollback(None, wait=True)
    first = scene.fleet.wanted
    (scene.folder / ".env").write_text("NEW=1\n")
    await scene.reload()
    assert scene.fleet.wanted is not first
    assert name_of(scene.fleet.wanted) == "first"
    scene.fleet.wanted = first  # its canary fell
    assert "rolled back by the operator" in scene.reloader.on_disk.note
    (scene.folder / ".env").write_text("NEW=2\n")
    await scene.reload()
    assert name_of(scene.fleet.wanted) == "first"


async def test_what_serves_already_can_be_chosen_so_that_the_file_is_not_tried_again(scene: Scene) -> None:
    await save(scene, "first")
    first = scene.fleet.wanted
    assert first is not None
    scene.config.write_text(GOOD.format(name="second"))
    await scene.reload()
    scene.fleet.wanted = first  # its canary fell
    outcome = await scene.reloader.rollback(first.digest, wait=True)
    assert outcome.result is ReloadResult.UNCHANGED
    assert "rolled back by the operator" in scene.reloader.on_disk.note
    in_force = scene.reloader.in_force()
    assert in_force is not None
    assert in_force.instead_of, "a start knows it too"
    (scene.folder / ".env").write_text("NEW=1\n")
    await scene.reload()
    assert name_of(scene.fleet.wanted) == "first"


async def test_saving_what_was_gone_back_to_ends_the_going_back(scene: Scene) -> None:
    for name in ("first", "second"):
        await save(scene, name)
    await scene.reloader.rollback(None, wait=True)
    await save(scene, "first")
    await save(scene, "second")
    assert name_of(scene.fleet.wanted) == "second", "the file has changed, and changed again"


async def test_what_was_gone_back_to_follows_the_environment_of_today(scene: Scene) -> None:
    for name in ("first", "second"):
        await save(scene, name)
    await scene.reloader.rollback(None, wait=True)
    before = scene.fleet.wanted
    scene.config.with_name(".env").write_text("ROTATED=today\n")
    await scene.reload()
    assert name_of(scene.fleet.wanted) == "first"
    assert scene.fleet.wanted is not None
    assert scene.fleet.wanted != before
    assert scene.fleet.wanted.environment["ROTATED"] == "today"
    assert "rolled back" in scene.reloader.on_disk.note


async def test_a_rollback_works_while_the_file_is_broken_or_gone(scene: Scene) -> None:
    for name in ("first", "second"):
        await save(scene, name)
    scene.config.unlink()
    assert (await scene.reloader.rollback(None, wait=True)).result is ReloadResult.ROLLED
    assert name_of(scene.fleet.wanted) == "first"
    assert "is refused" in scene.reloader.on_disk.note
    assert scene.reloader.on_disk.refusal is not None


async def test_a_digest_names_where_to_go(scene: Scene) -> None:
    digests = [(await save(scene, name)).generation for name in ("first", "second", "third")]
    outcome = await scene.reloader.rollback(digests[0][:6], wait=True)
    assert (outcome.result, outcome.generation) == (ReloadResult.ROLLED, digests[0])
    assert (await scene.reloader.rollback(digests[0], wait=True)).result is ReloadResult.UNCHANGED
    for unknown in ("nothing", ""):
        outcome = await scene.reloader.rollback(unknown, wait=True)
        assert outcome.result is ReloadResult.REFUSED
        assert "litesup history" in outcome.problems[0]


async def test_with_nothing_kept_a_rollback_is_refused_and_changes_nothing(scene: Scene) -> None:
    await save(scene, "first", keep=False)
    outcome = await scene.reloader.rollback(None, wait=True)
    assert outcome.result is ReloadResult.REFUSED
    assert "No good generation is kept" in outcome.problems[0]
    assert len(scene.fleet.wants) == 1
    assert scene.reloader.on_disk.refusal is None


async def test_a_generation_that_only_differs_in_a_comment_is_no_way_back(scene: Scene) -> None:
    await save(scene, "first")
    await save(scene, "second")
    scene.config.write_text(scene.config.read_text() + "# a remark\n")
    await scene.reload()
    keep(scene)
    await scene.reloader.rollback(None, wait=True)
    assert name_of(scene.fleet.wanted) == "first"


async def test_a_kept_generation_that_cannot_be_made_again_is_a_refusal_that_says_why(scene: Scene) -> None:
    scene.reloader._environ = {"NAME_OF_IT": "first"}
    scene.config.write_text(GOOD.format(name="${NAME_OF_IT}"))
    await scene.reload()
    keep(scene)
    scene.reloader._environ = {}
    await save(scene, "second")
    outcome = await scene.reloader.rollback(None, wait=True)
    assert outcome.result is ReloadResult.REFUSED
    assert "NAME_OF_IT is not set" in outcome.problems[0]
    assert name_of(scene.fleet.wanted) == "second"


async def test_who_waits_for_a_reload_is_taken_along_to_a_newer_reading(scene: Scene) -> None:
    scene.fleet.result = None
    waits = asyncio.create_task(scene.reload())
    first = await _wanted(scene, 1)
    scene.config.write_text(GOOD.format(name="second"))
    newer = asyncio.create_task(scene.reload())
    second = await _wanted(scene, 2)
    first.set_result(ReloadOutcome(ReloadResult.SUPERSEDED, "first"))
    second.set_result(ReloadOutcome(ReloadResult.ROLLED, "second"))
    assert await waits == await newer == ReloadOutcome(ReloadResult.ROLLED, "second")


async def test_who_waits_for_a_reload_hears_of_a_rollback_that_took_its_place(scene: Scene) -> None:
    await save(scene, "first")
    scene.fleet.result = None
    scene.config.write_text(GOOD.format(name="second"))
    waits = asyncio.create_task(scene.reload())
    reload = await _wanted(scene, 2)
    back = asyncio.create_task(scene.reloader.rollback(None, wait=True))
    rollback = await _wanted(scene, 3)
    reload.set_result(ReloadOutcome(ReloadResult.SUPERSEDED, "second"))
    rollback.set_result(ReloadOutcome(ReloadResult.ROLLED, "first"))
    assert (await waits).problems == ("the operator rolled back meanwhile",)
    assert (await back).result is ReloadResult.ROLLED


async def _wanted(scene: Scene, count: int) -> asyncio.Future[ReloadOutcome]:
    await eventually(lambda: len(scene.fleet.futures) == count, what=f"{count} generations are wanted")
    return scene.fleet.futures[-1]


async def test_the_history_says_which_one_runs(scene: Scene) -> None:
    assert await scene.reloader.history() == ()
    for name in ("first", "second"):
        await save(scene, name)
    await scene.reloader.rollback(None, wait=True)
    assert [(entry.running, entry.reason) for entry in await scene.reloader.history()] == [
        (False, "test"),
        (True, "test"),
    ]
