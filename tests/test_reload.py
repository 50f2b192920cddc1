"""From a changed file to a roll-out, or to a refusal that changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from supervisor import events as ev
from supervisor.control.operations import ReloadOutcome, ReloadResult
from supervisor.errors import ConfigurationRefused
from supervisor.fleet.messages import Target
from supervisor.history.store import History
from supervisor.litellm_config.generation import Generation
from supervisor.reload import Reloader
from supervisor.watch import FileWatch, WatchRules
from tests.eventually import eventually

GOOD = "model_list:\n  - model_name: {name}\n    litellm_params: {{model: openai/x, api_key: none}}\n"


class FakeFleet:
    """Wants what it is told to want; every roll-out ends as `result` says."""

    def __init__(self) -> None:
        self.wanted: Generation | None = None
        self.wants: list[tuple[str, Path, str, bool]] = []
        self.result: ReloadResult | None = ReloadResult.ROLLED
        self.futures: list[asyncio.Future[ReloadOutcome]] = []
        self.fallbacks: list[Target | None] = []

    @property
    def good(self) -> Generation | None:
        return self.wanted

    in_force = True

    @property
    def live_generations(self) -> frozenset[str]:
        return frozenset() if self.wanted is None else frozenset({self.wanted.digest})

    def want(
        self, generation: Generation, config_path: Path, *, reason: str, again: bool, fallback: Target | None = None
    ) -> asyncio.Future[ReloadOutcome]:
        self.wanted = generation
        self.wants.append((generation.digest, config_path, reason, again))
        future: asyncio.Future[ReloadOutcome] = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        self.fallbacks.append(fallback)
        if self.result is not None:
            future.set_result(ReloadOutcome(self.result, generation.digest))
        return future


class Scene:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "litellm.config.yaml"
        self.config.write_text(GOOD.format(name="first"))
        self.runtime = folder / "run"
        self.runtime.mkdir(mode=0o700)
        state = folder / "state"
        state.mkdir(mode=0o700)
        self.fleet = FakeFleet()
        self.events = ev.Events()
        self.seen: list[ev.Event] = []
        self.events.subscribe(self.seen.append)
        self.generations: list[Generation] = []
        self.watched: frozenset[Path] = frozenset()
        self.history = History(state, self.config)
        self.reloader = Reloader(
            self.config,
            environ={"PATH": "/usr/bin"},
            runtime_dir=self.runtime,
            state_dir=state,
            fleet=self.fleet,
            want=self.fleet.want,
            events=self.events,
            on_generation=self.generations.append,
            watch=self.watch,
        )

    def watch(self, paths: Iterable[Path]) -> None:
        self.watched = frozenset(paths)

    async def reload(self, *, wait: bool = True) -> ReloadOutcome:
        return await self.reloader.reload(reason="test", wait=wait, again=False)

    def refusals(self) -> list[ev.ConfigurationChangeRefused]:
        return [event for event in self.seen if isinstance(event, ev.ConfigurationChangeRefused)]


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


# Going back.


def name_of(generation: Generation | None) -> str:
    assert generation is not None
    return next(name for name in ("first", "second", "third") if name in generation.config_text)


async def save(scene: Scene, name: str, *, keep: bool = True) -> ReloadOutcome:
    """Saves, rolls out, and keeps it as the pool's keeper would."""
    scene.config.write_text(GOOD.format(name=name))
    outcome = await scene.reload()
    in_force = scene.reloader.in_force()
    assert in_force is not None
    if keep:
        scene.history.keep(in_force)
    return outcome


def keep(scene: Scene) -> None:
    in_force = scene.reloader.in_force()
    assert in_force is not None
    scene.history.keep(in_force)


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


# Starting.


async def start(scene: Scene, *, last_good: bool = True) -> None:
    scene.reloader.start(scene.reloader.first(last_good=last_good))


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
