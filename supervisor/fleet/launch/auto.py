"""Which launcher: the one that was asked for, or forked as long as that works and plain from then on."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from supervisor.errors import LaunchFailed
from supervisor.events import Events, LauncherFellBack
from supervisor.fleet.launch.command import shared_environment
from supervisor.fleet.launch.forked import ForkedLauncher
from supervisor.fleet.launch.forkserver import ForkServerUnusable, HeadStart, begin
from supervisor.fleet.launch.plain import LITELLM, PlainLauncher
from supervisor.fleet.launch.spec import Launcher, LaunchSpec, Process
from supervisor.settings.schema import LauncherChoice


def head_start(choice: LauncherChoice, environment: Mapping[str, str], program: Path = LITELLM) -> HeadStart | None:
    """Begins, without an event loop, what the launcher for this setting will need. It costs nothing but its use."""
    if choice is LauncherChoice.PLAIN:
        return None
    with contextlib.suppress(LaunchFailed):  # the launcher meets the same error, and says so
        return begin(program, shared_environment(environment))
    return None


def make_launcher(
    choice: LauncherChoice, events: Events, program: Path = LITELLM, begun: HeadStart | None = None
) -> Launcher:
    """The launcher for a setting. `program` is the file that replicas run; see `replica_main`.

    It takes over what was `begun` ahead, and ends it if that is of no use.
    """
    match choice:
        case LauncherChoice.PLAIN:
            return PlainLauncher(program)
        case LauncherChoice.FORK:
            return ForkedLauncher(events, program, head_start=begun)
        case LauncherChoice.AUTO:
            return AutoLauncher(ForkedLauncher(events, program, head_start=begun), PlainLauncher(program), events)


class AutoLauncher:
    """Forks; when a fork server cannot be used, launches plainly, and says so once.

    Another environment may load what the last one could not, so that one gets its own try.
    """

    def __init__(self, forked: Launcher, plain: Launcher, events: Events) -> None:
        self._forked = forked
        self._plain = plain
        self._events = events
        self._note = ""
        self._given_up: dict[str, str] | None = None  # the environment with which forking failed, if it did

    @property
    def name(self) -> str:
        return self._current.name

    @property
    def note(self) -> str:
        """Why this is not the launcher that was asked for, or ""."""
        return self._note

    @property
    def _current(self) -> Launcher:
        return self._forked if self._given_up is None else self._plain

    async def prepare(self, environment: Mapping[str, str]) -> None:
        if self._given_up == shared_environment(environment):
            return
        try:
            await self._forked.prepare(environment)
        except ForkServerUnusable as unusable:
            await self._fall_back(str(unusable), environment)
        else:
            self._given_up = None
            self._note = ""

    async def launch(self, spec: LaunchSpec) -> Process:
        if self._given_up != shared_environment(spec.environment):
            try:
                return await self._forked.launch(spec)
            except ForkServerUnusable as unusable:
                await self._fall_back(str(unusable), spec.environment)
        return await self._plain.launch(spec)

    async def close(self) -> None:
        await self._forked.close()
        await self._plain.close()

    async def _fall_back(self, reason: str, environment: Mapping[str, str]) -> None:
        self._given_up = shared_environment(environment)
        self._note = reason
        self._events.publish(LauncherFellBack(reason=reason))
        await self._plain.prepare(environment)
