"""Going back, in a whole daemon: by the operator's word, and at a start that would fail otherwise."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from supervisor import events as ev
from supervisor.control.operations import ReloadOutcome, ReloadResult
from supervisor.errors import ConfigurationRefused
from supervisor.status import Condition, GenerationStatus
from tests.eventually import eventually
from tests.test_daemon import CONFIG, Scene, ended, running

WATCHING: dict[str, Any] = {"watch": True, "debounce": 0.01}
LAST_GOOD: dict[str, Any] = {**WATCHING, "last_good": True}
EXITS = "environment_variables: {FAKE_EXIT_STARTING: '3'}\n"


def generation(scene: Scene) -> GenerationStatus:
    return scene.daemon.status().generation


async def kept(scene: Scene, count: int) -> None:
    await eventually(lambda: len(scene.of(ev.GenerationKept)) == count, what=f"{count} generations proved good")


async def served(folder: Path, *names: str) -> list[str]:
    """The digests of these configurations, each of which has proved good; the last one is left on disk."""
    scene = Scene(folder)
    digests = []
    async with running(scene):
        for number, name in enumerate(names, start=1):
            scene.config.write_text(CONFIG.format(name=name))
            await scene.daemon.reload(wait=True)
            await kept(scene, number)
            digests.append(generation(scene).wanted)
    return digests


async def test_a_rollback_returns_to_the_last_good_one_and_the_file_waits(short_dir: Path) -> None:
    scene = Scene(short_dir, rollout=WATCHING)
    async with running(scene):
        await kept(scene, 1)
        first = generation(scene).wanted
        scene.config.write_text(CONFIG.format(name="second"))
        await kept(scene, 2)
        second = generation(scene).wanted
        assert await scene.daemon.rollback(None, wait=True) == ReloadOutcome(ReloadResult.ROLLED, first)
        found = generation(scene)
        assert (found.running, found.wanted, found.on_disk) == (first, first, second)
        assert "rolled back by the operator; the file on disk differs" in found.note
        assert found.reason == "rolled back by the operator"
        assert "+- model_name: second" in found.difference
        await kept(scene, 3)
        assert [(entry.digest, entry.running) for entry in await scene.daemon.history()] == [
            (second, False),
            (first, True),
        ]
        assert (await scene.daemon.reload_because("file changed", wait=True)).result is ReloadResult.UNCHANGED
        assert (await scene.daemon.reload(wait=True)) == ReloadOutcome(ReloadResult.ROLLED, second)
        assert generation(scene).note == ""
        assert generation(scene).difference == ()


async def test_a_hangup_is_the_operators_word_and_applies_what_was_gone_back_from(short_dir: Path) -> None:
    scene = Scene(short_dir)
    async with running(scene):
        await kept(scene, 1)
        scene.config.write_text(CONFIG.format(name="second"))
        second = (await scene.daemon.reload(wait=True)).generation
        await scene.daemon.rollback(None, wait=True)
        os.kill(os.getpid(), signal.SIGHUP)
        await eventually(lambda: generation(scene).running == second, what="the file is applied again")


async def test_what_a_change_that_failed_would_have_changed_is_shown(short_dir: Path) -> None:
    scene = Scene(short_dir)
    async with running(scene):
        await scene.ready()
        await kept(scene, 1)
        first = generation(scene).wanted
        scene.config.write_text(CONFIG.format(name="second") + EXITS)
        outcome = await scene.daemon.reload(wait=True)
        assert outcome.result is ReloadResult.ROLLED_BACK
        assert "exit 3" in outcome.problems[0]
        found = generation(scene)
        assert (found.running, found.wanted, found.on_disk) == (first, first, outcome.generation)
        assert found.failed
        assert "+- model_name: second" in found.difference
        assert (await scene.daemon.reload_because("file changed", wait=True)).result is ReloadResult.ROLLED_BACK
        assert len(scene.of(ev.RolloutStarted)) == 1, "remembered, and not tried again by itself"
        assert [entry.digest for entry in await scene.daemon.history()] == [first]


async def test_a_start_on_a_broken_file_serves_the_last_good_one_until_it_is_mended(short_dir: Path) -> None:
    [good] = await served(short_dir, "first")
    (short_dir / "litellm.config.yaml").write_text("model_list: [\n")
    plain = Scene(short_dir)
    with pytest.raises(ConfigurationRefused):
        async with running(plain) as task:
            await ended(task)
    scene = Scene(short_dir, rollout=LAST_GOOD)
    async with running(scene):
        await scene.ready()
        found = generation(scene)
        assert (found.wanted, found.on_disk, found.reason) == (good, "", "last good")
        assert found.note.startswith("serving the last good configuration, of 20")
        assert "litellm.config.yaml:" in found.note
        assert found.refused
        [event] = scene.of(ev.LastGoodStarted)
        assert event.generation == good
        scene.config.write_text(CONFIG.format(name="mended"))
        await kept(scene, 2)
        found = generation(scene)
        assert found.wanted == found.on_disk == found.running != good
        assert (found.note, found.refused_at) == ("", None)
        assert scene.daemon.status().daemon.condition is Condition.READY


async def test_a_start_on_a_file_that_cannot_serve_falls_back_to_the_last_good_one(short_dir: Path) -> None:
    [good] = await served(short_dir, "first")
    (short_dir / "litellm.config.yaml").write_text(CONFIG.format(name="second") + EXITS)
    scene = Scene(short_dir, rollout=LAST_GOOD)
    async with running(scene):
        await scene.ready()
        found = generation(scene)
        assert found.running == found.wanted == good
        assert found.note.startswith("serving the last good configuration")
        # The third is enough; on a busy machine another may have ended before it was heard of.
        assert re.search(r"because: [3-9] replicas ended or did not answer: exit 3$", found.note)
        assert found.failed
        assert "+- model_name: second" in found.difference
        assert len(scene.of(ev.LastGoodStarted)) == 1
        await kept(scene, 1)
        scene.config.write_text(CONFIG.format(name="second"))
        await kept(scene, 2)
        assert generation(scene).note == ""


async def test_a_start_after_a_rollback_stays_with_what_the_operator_chose(short_dir: Path) -> None:
    first, second = await served(short_dir, "first", "second")
    scene = Scene(short_dir)
    async with running(scene):
        await kept(scene, 1)
        await scene.daemon.rollback(first[:6], wait=True)
        await kept(scene, 2)
    scene = Scene(short_dir, rollout=LAST_GOOD)
    async with running(scene):
        await scene.ready()
        assert (generation(scene).wanted, generation(scene).on_disk) == (first, second)
        assert "rolled back by the operator" in generation(scene).note
        assert (await scene.daemon.reload(wait=True)).generation == second


async def test_a_history_that_cannot_be_written_is_a_warning_and_ends_nothing(short_dir: Path) -> None:
    scene = Scene(short_dir)
    (short_dir / "state" / "history").write_text("a file where the directory should be")
    async with running(scene) as task:
        await scene.ready()
        await eventually(lambda: bool(scene.of(ev.GenerationNotKept)), what="it is said")
        assert str(short_dir / "state" / "history") in generation(scene).history_note
        outcome = await scene.daemon.rollback(None, wait=True)
        assert outcome.result is ReloadResult.REFUSED
        assert not task.done()
        await asyncio.sleep(0)
        assert scene.daemon.status().ready_replicas == 2
