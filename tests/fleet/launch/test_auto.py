from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from supervisor.errors import LaunchFailed
from supervisor.events import Event, Events, LauncherFellBack
from supervisor.fleet.launch.auto import AutoLauncher, make_launcher
from supervisor.fleet.launch.forked import ForkedLauncher
from supervisor.fleet.launch.forkserver import ForkServerUnusable
from supervisor.fleet.launch.plain import PlainLauncher
from supervisor.fleet.launch.spec import LaunchSpec, Process
from supervisor.settings.schema import LauncherChoice
from tests.fakes import FakeLauncher

SPEC = LaunchSpec(1, 0, (), {}, Path("/run/x/1.sock"), Path("/"))


class Forking(FakeLauncher):
    """Refuses with whatever the test put there."""

    name = "fork"

    def __init__(self) -> None:
        super().__init__()
        self.on_prepare: list[LaunchFailed] = []
        self.on_launch: list[LaunchFailed] = []

    async def prepare(self, environment: Mapping[str, str]) -> None:
        if self.on_prepare:
            raise self.on_prepare.pop()
        await super().prepare(environment)

    async def launch(self, spec: LaunchSpec) -> Process:  # type: ignore[override]
        if self.on_launch:
            raise self.on_launch.pop()
        return await super().launch(spec)


class Plain(FakeLauncher):
    name = "plain"


class Both:
    def __init__(self) -> None:
        self.seen: list[Event] = []
        events = Events()
        events.subscribe(self.seen.append)
        self.forked, self.plain = Forking(), Plain()
        self.launcher = AutoLauncher(self.forked, self.plain, events)


async def test_it_forks_as_long_as_that_works():
    both = Both()
    await both.launcher.prepare({})
    await both.launcher.launch(SPEC)
    assert (len(both.forked.processes), len(both.plain.processes)) == (1, 0)
    assert (both.launcher.name, both.launcher.note, both.seen) == ("fork", "", [])


async def test_it_falls_back_when_no_fork_server_can_be_used_and_says_so_once():
    both = Both()
    both.forked.on_prepare = [ForkServerUnusable("2 threads")]
    for own in ("one", "two"):
        await both.launcher.prepare({"LITESUP_WARM_UP_URL": own})
        await both.launcher.launch(SPEC)
    assert (len(both.forked.processes), len(both.plain.processes)) == (0, 2)
    assert (both.launcher.name, both.launcher.note) == ("plain", "2 threads")
    assert both.seen == [LauncherFellBack(reason="2 threads")]


async def test_a_launch_that_must_not_fork_is_done_plainly():
    both = Both()
    await both.launcher.prepare({})
    both.forked.on_launch = [ForkServerUnusable("2 threads")]
    await both.launcher.launch(SPEC)
    assert len(both.plain.processes) == 1
    assert both.launcher.name == "plain"


async def test_another_failure_is_no_reason_to_launch_plainly():
    both = Both()
    await both.launcher.prepare({})
    both.forked.on_launch = [LaunchFailed("no memory")]
    with pytest.raises(LaunchFailed, match="no memory"):
        await both.launcher.launch(SPEC)
    assert both.launcher.name == "fork"


async def test_another_environment_gets_its_own_try():
    both = Both()
    both.forked.on_prepare = [ForkServerUnusable("cannot import")]
    await both.launcher.prepare({})
    await both.launcher.prepare({"FIXED": "1"})
    assert both.launcher.name == "fork"


async def test_what_one_environment_cannot_is_no_reason_against_another_and_back_again():
    both = Both()
    await both.launcher.prepare({})
    both.forked.on_prepare = [ForkServerUnusable("cannot import")]
    await both.launcher.prepare({"BROKEN": "1"})
    assert (both.launcher.name, both.launcher.note) == ("plain", "cannot import")
    await both.launcher.launch(SPEC)
    await both.launcher.keep([{}, {"BROKEN": "1"}])
    assert (both.launcher.name, both.launcher.note) == ("fork", "")
    await both.launcher.prepare({"BROKEN": "1"})
    assert (both.launcher.name, len(both.forked.processes), len(both.plain.processes)) == ("plain", 1, 0)
    assert both.seen == [LauncherFellBack(reason="cannot import")]


async def test_an_environment_that_nobody_needed_for_a_while_gets_another_try():
    both = Both()
    both.forked.on_prepare = [ForkServerUnusable("cannot import")]
    await both.launcher.prepare({"BROKEN": "1"})
    await both.launcher.keep([{}])
    await both.launcher.prepare({"BROKEN": "1"})
    assert both.launcher.name == "fork"
    assert both.forked.kept == [{}]


@pytest.mark.parametrize(
    ("choice", "kind"),
    [
        (LauncherChoice.AUTO, AutoLauncher),
        (LauncherChoice.FORK, ForkedLauncher),
        (LauncherChoice.PLAIN, PlainLauncher),
    ],
)
def test_the_setting_decides(choice: LauncherChoice, kind: type):
    assert type(make_launcher(choice, Events())) is kind
