"""From a changed file to a roll-out, or to a refusal that changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from supervisor.control.operations import ReloadOutcome, ReloadResult
from supervisor.litellm_config.generation import Generation
from supervisor.watch import FileWatch, WatchRules
from tests.eventually import eventually
from tests.reload_scene import GOOD, Scene, save, start


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_a_good_file_is_rendered_and_wanted(scene: Scene) -> None:
    outcome = await scene.reload()
    [(digest, path, reason, again)] = scene.fleet.wants
    assert outcome == ReloadOutcome(ReloadResult.ROLLED, digest)
    assert "first" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o400
    assert (reason, again) == ("test", False)
    assert scene.config in scene.generations[0].watched


async def test_a_broken_file_changes_nothing_but_what_is_known_about_it(scene: Scene) -> None:
    await scene.reload()
    before = scene.fleet.wanted
    scene.config.write_text("model_list: [\n")
    outcome = await scene.reload()
    assert outcome.result is ReloadResult.REFUSED
    assert before is not None
    assert outcome.generation == before.digest
    assert any(str(scene.config) in problem for problem in outcome.problems)
    assert scene.fleet.wanted is before
    assert len(scene.fleet.wants) == 1
    assert scene.reloader.on_disk.refusal is not None
    assert scene.reloader.on_disk.refusal.problems == outcome.problems


@pytest.mark.parametrize("text", ["litellm_settings: {drop_params: true}\n", "model_list:\n", "modle_list: []\n"])
async def test_a_file_that_lost_its_models_is_refused(scene: Scene, text: str) -> None:
    await scene.reload()
    scene.config.write_text(text)
    outcome = await scene.reload()
    assert outcome.result is ReloadResult.REFUSED
    assert "`first`" in outcome.problems[0]
    assert len(scene.fleet.wants) == 1


async def test_a_file_that_says_that_there_are_no_models_is_taken_at_its_word(scene: Scene) -> None:
    await scene.reload()
    scene.config.write_text("model_list: []\n")
    assert (await scene.reload()).result is ReloadResult.ROLLED


async def test_the_same_refusal_is_announced_once(scene: Scene) -> None:
    scene.config.write_text("model_list: [\n")
    for _ in range(3):
        await scene.reload()
    assert len(scene.refusals()) == 1
    scene.config.write_text("model_list: 7\n")
    await scene.reload()
    assert len(scene.refusals()) == 2


async def test_a_repaired_file_is_not_refused_any_more(scene: Scene) -> None:
    scene.config.write_text("model_list: [\n")
    await scene.reload()
    scene.config.write_text(GOOD.format(name="second"))
    assert (await scene.reload()).result is ReloadResult.ROLLED
    assert scene.reloader.on_disk.refusal is None


async def test_a_file_that_is_gone_is_a_refusal(scene: Scene) -> None:
    await scene.reload()
    scene.config.unlink()
    assert (await scene.reload()).result is ReloadResult.REFUSED
    assert len(scene.fleet.wants) == 1


async def test_without_waiting_a_roll_out_under_way_is_reported_as_started(scene: Scene) -> None:
    scene.fleet.result = None
    assert (await scene.reload(wait=False)).result is ReloadResult.STARTED


async def test_what_no_generation_needs_any_more_is_removed_from_the_runtime_directory(scene: Scene) -> None:
    await scene.reload()
    first = scene.fleet.wants[0][1]
    scene.config.write_text(GOOD.format(name="second"))
    await scene.reload()
    assert first.exists(), "the first was still live when the second was rendered"
    scene.config.write_text(GOOD.format(name="third"))
    await scene.reload()
    assert not first.exists()


async def test_a_configuration_that_cannot_be_written_is_refused_and_changes_nothing(scene: Scene) -> None:
    await scene.reload()
    scene.config.write_text(GOOD.format(name="second"))
    scene.runtime.rename(scene.runtime.with_name("gone"))
    outcome = await scene.reload()
    assert outcome.result is ReloadResult.REFUSED
    assert str(scene.runtime) in outcome.problems[0]
    assert len(scene.fleet.wants) == 1
    assert scene.reloader.on_disk.refusal is not None
    scene.runtime.with_name("gone").rename(scene.runtime)
    assert (await scene.reload()).result is ReloadResult.ROLLED
    assert scene.reloader.on_disk.refusal is None


async def test_an_error_that_nobody_foresaw_is_a_refusal_without_its_text(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.reload()
    with monkeypatch.context() as broken:

        def read() -> Generation:
            raise RuntimeError("sk-secret")

        broken.setattr(scene.reloader, "read", read)
        outcome = await scene.reload()
    assert outcome.result is ReloadResult.REFUSED
    assert "RuntimeError" in outcome.problems[0]
    assert "sk-secret" not in outcome.problems[0]
    assert (await scene.reload()).result is ReloadResult.ROLLED


async def test_a_file_that_a_refused_one_names_is_watched_and_so_is_all_that_the_wanted_one_needs(scene: Scene) -> None:
    (scene.folder / "hooks.py").write_text("handler = 1\n")
    scene.config.write_text(GOOD.format(name="first") + "litellm_settings: {callbacks: hooks.handler}\n")
    await scene.reload()
    assert scene.watched >= {scene.config, scene.folder / "hooks.py", scene.folder / ".env"}
    scene.config.write_text("include: [absent.yaml]\n")
    assert (await scene.reload()).result is ReloadResult.REFUSED
    assert scene.watched >= {scene.config, scene.folder / "absent.yaml", scene.folder / "hooks.py"}


async def test_what_a_refused_file_names_stays_watched_though_something_else_is_started_or_gone_back_to(
    scene: Scene,
) -> None:
    absent = scene.folder / "absent.yaml"
    for name in ("first", "second"):
        await save(scene, name)
    scene.config.write_text("include: [absent.yaml]\n" + GOOD.format(name="third"))
    await scene.reloader.rollback(None, wait=True)
    assert absent in scene.watched, "after a rollback"
    scene.watched = frozenset()
    await start(scene)
    assert absent in scene.watched, "after a start with the last good one"


@contextlib.asynccontextmanager
async def watching(scene: Scene) -> AsyncIterator[None]:
    """Reloads whenever a file changes, as the daemon does."""

    async def changed() -> None:
        await scene.reload()

    files = FileWatch(changed, WatchRules(debounce=0.05), look_every=0.1)
    scene.watch = files.watch  # type: ignore[method-assign]
    scene.reloader._watch = files.watch
    await scene.reload()
    task = asyncio.create_task(files.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def refused(scene: Scene) -> None:
    await eventually(lambda: scene.reloader.on_disk.refusal is not None, what="it is refused")


async def serving(scene: Scene, text: str) -> None:
    """Until what is wanted holds this text, and nothing is refused."""
    await eventually(
        lambda: (
            scene.fleet.wanted and text in scene.fleet.wanted.config_text and scene.reloader.on_disk.refusal is None
        ),
        what=f"{text} is wanted",
    )


async def test_a_file_that_is_written_in_two_halves_is_refused_at_most_once_and_then_wanted(scene: Scene) -> None:
    async with watching(scene):
        whole = GOOD.format(name="second")
        scene.config.write_text(whole[: whole.index("{")] + "{")
        await refused(scene)
        assert len(scene.fleet.wants) == 1
        scene.config.write_text(whole)
        await serving(scene, "second")
        assert len(scene.refusals()) == 1


async def test_a_configuration_that_is_deleted_is_refused_and_its_return_is_noticed(scene: Scene) -> None:
    async with watching(scene):
        scene.config.unlink()
        await refused(scene)
        assert scene.fleet.wanted is not None
        scene.config.write_text(GOOD.format(name="second"))
        await serving(scene, "second")


async def test_an_include_that_is_missing_is_noticed_when_it_comes(scene: Scene) -> None:
    async with watching(scene):
        scene.config.write_text("include: [models/more.yaml]\n")
        await refused(scene)
        (scene.folder / "models").mkdir()
        (scene.folder / "models" / "more.yaml").write_text(GOOD.format(name="included"))
        await serving(scene, "included")


async def test_a_dotenv_file_that_appears_later_is_noticed(scene: Scene) -> None:
    async with watching(scene):
        scene.config.write_text(GOOD.format(name="keyed").replace("none", "'${A_KEY}'"))
        await refused(scene)
        (scene.folder / ".env").write_text("A_KEY=from-the-file\n")
        await serving(scene, "keyed")
        assert scene.fleet.wanted is not None
        assert scene.fleet.wanted.environment["A_KEY"] == "from-the-file"


async def test_a_module_that_another_one_imports_is_noticed_and_makes_another_generation(scene: Scene) -> None:
    (scene.folder / "hooks.py").write_text("from beside import handler\n")
    (scene.folder / "beside.py").write_text("handler = 1\n")
    scene.config.write_text(GOOD.format(name="first") + "litellm_settings: {callbacks: hooks.handler}\n")
    async with watching(scene):
        assert len(scene.fleet.wants) == 1
        (scene.folder / "beside.py").write_text("handler = 2\n")
        await eventually(lambda: len({digest for digest, *_ in scene.fleet.wants}) == 2, what="it is another")


async def test_a_save_that_changes_nothing_wants_nothing_new(scene: Scene) -> None:
    async with watching(scene):
        before = len(scene.fleet.wants)
        scene.config.write_text("# a comment\n" + GOOD.format(name="first"))
        await eventually(lambda: len(scene.fleet.wants) > before, what="it was read again")
        assert len({digest for digest, *_ in scene.fleet.wants}) == 1
