"""litesup.yaml changes while the daemon runs: what comes into force, what waits, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor import events as ev
from supervisor.control.operations import SettingsOutcome
from supervisor.errors import ConfigurationRefused, Finding, Severity
from supervisor.live import LiveSettings
from supervisor.settings.schema import Settings
from supervisor.settings.source import SettingsSource


class Scene:
    def __init__(self, folder: Path, **flags: object) -> None:
        self.file = folder / "litesup.yaml"
        self.file.write_text("balancer: {port: 8000}\nqueue: {size: 10}\n")
        source = SettingsSource(flags, {}, self.file)
        self.events = ev.Events()
        self.seen: list[ev.Event] = []
        self.events.subscribe(self.seen.append)
        self.live = LiveSettings(source.read(), source, self.events)
        self.handed: list[tuple[Settings, Settings]] = []
        self.live.on_change(lambda before, after: self.handed.append((before, after)))

    async def save(self, text: str) -> SettingsOutcome:
        self.file.write_text(text)
        return await self.live.reload()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_nothing_changed_is_nothing_done(scene: Scene) -> None:
    assert await scene.live.reload() == SettingsOutcome()
    assert (scene.seen, scene.handed) == ([], [])


async def test_what_applies_live_is_in_force_at_once_and_handed_on(scene: Scene) -> None:
    outcome = await scene.save("balancer: {port: 8000}\nqueue: {size: 20}\n")
    assert outcome == SettingsOutcome(applied=("queue.size (10 → 20)",))
    assert scene.live.now.queue.size == 20
    [(before, after)] = scene.handed
    assert (before.queue.size, after) == (10, scene.live.now)
    assert scene.seen == [ev.SettingsApplied(("queue.size (10 → 20)",))]


async def test_what_needs_a_restart_stays_as_it_is_and_is_said_until_it_is_taken_back(scene: Scene) -> None:
    port = ("balancer.port (8000 → 8080)",)
    outcome = await scene.save("balancer: {port: 8080}\nqueue: {size: 20}\n")
    assert (outcome.applied, outcome.needs_restart) == (("queue.size (10 → 20)",), port)
    assert scene.live.now.balancer.port == 8000
    outcome = await scene.live.reload()
    assert (outcome.applied, outcome.needs_restart, scene.live.status.needs_restart) == ((), port, port)
    assert [event for event in scene.seen if isinstance(event, ev.SettingsNeedRestart)] == [
        ev.SettingsNeedRestart(port)
    ]
    await scene.save("balancer: {port: 8000}\nqueue: {size: 20}\n")
    assert scene.live.status.needs_restart == ()


async def test_what_replicas_are_started_with_asks_for_other_replicas(scene: Scene) -> None:
    outcome = await scene.save("queue: {size: 10}\nlogs: {litellm_debug: true}\n")
    assert outcome == SettingsOutcome(applied=("logs.litellm_debug (false → true)",), rolls=True)
    assert scene.live.now.logs.litellm_debug


@pytest.mark.parametrize("text", ["queue: {size: [\n", "queue: {sise: 20}\n", "queue: {size: -1}\n", ""])
async def test_a_broken_file_is_refused_and_the_settings_in_force_stay(scene: Scene, text: str) -> None:
    before = scene.live.now
    for _ in range(2):
        outcome = await scene.save(text)
        assert outcome.problems
        assert str(scene.file) in outcome.problems[0]
    assert (outcome.applied, scene.live.now, scene.handed) == ((), before, [])
    assert scene.live.status.refused == outcome.problems
    assert scene.live.status.refused_at is not None
    assert scene.seen == [ev.SettingsRefused(outcome.problems)]
    assert (await scene.save("queue: {size: 20}\n")).applied
    after = scene.live.status
    assert after.refused_at is None
    assert not after.refused


async def test_a_file_that_is_deleted_is_refused_and_read_when_it_is_back(scene: Scene) -> None:
    scene.file.unlink()
    [problem] = (await scene.live.reload()).problems
    assert str(scene.file) in problem
    assert scene.live.now.queue.size == 10
    assert (await scene.save("queue: {size: 30}\n")).applied == ("queue.size (10 → 30)",)


async def test_a_flag_of_the_start_goes_on_winning(tmp_path: Path) -> None:
    scene = Scene(tmp_path, **{"balancer.port": 9000})
    outcome = await scene.save("balancer: {port: 8080}\nqueue: {size: 10}\n")
    assert outcome == SettingsOutcome()


async def test_the_port_that_is_open_is_not_unguarded_by_a_file_that_names_another(tmp_path: Path) -> None:
    """The file is good in itself: it would listen on loopback. But that needs a restart, and access is live."""
    file = tmp_path / "litesup.yaml"
    file.write_text("balancer: {host: [0.0.0.0]}\naccess: {allow: [10.0.0.0/8]}\n")
    source = SettingsSource({}, {}, file)
    live = LiveSettings(source.read(), source, ev.Events())
    file.write_text("balancer: {host: [127.0.0.1]}\n")
    outcome = await live.reload()
    assert any("access" in problem for problem in outcome.problems)
    assert [str(network) for network in live.now.access.allow] == ["10.0.0.0/8"]


async def test_a_part_may_object(scene: Scene) -> None:
    def objects(settings: Settings) -> None:
        raise ConfigurationRefused([Finding(Severity.ERROR, "no", f"not {settings.queue.size}")])

    scene.live.only_if(objects)
    assert (await scene.save("queue: {size: 20}\n")).problems == ("error: not 20 [no]",)
    assert scene.live.now.queue.size == 10


async def test_an_error_that_nobody_foresaw_changes_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Settings:
        raise RuntimeError("a secret")

    monkeypatch.setattr(SettingsSource, "read_again", fails)
    [problem] = (await scene.live.reload()).problems
    assert "RuntimeError" in problem
    assert "secret" not in problem


async def test_without_a_source_nothing_is_read() -> None:
    live = LiveSettings(Settings(), None, ev.Events())
    assert await live.reload() == SettingsOutcome()
    assert live.watched == ()
