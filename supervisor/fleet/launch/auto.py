"""Which launcher: the one that was asked for, or forked as long as that works and plain from then on."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from supervisor.errors import LaunchFailed
from supervisor.events import Events, LauncherFellBack
from supervisor.fleet.launch.command import shared_environment
from supervisor.fleet.launch.forked import MOST, ForkedLauncher
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


@dataclass(frozen=True, slots=True)
class GivenUp:
    """With this environment forking failed."""

    environment: Mapping[str, str] = dataclasses.field(repr=False)
    reason: str


class AutoLauncher:
    """Forks; when a fork server cannot be used, launches plainly, and says so once.

    Each environment has its own try: another may load what this one could not.
    """

    def __init__(self, forked: Launcher, plain: Launcher, events: Events) -> None:
        self._forked = forked
        self._plain = plain
        self._events = events
        self._given_up: list[GivenUp] = []
        self._wanted: dict[str, str] | None = None

    @property
    def name(self) -> str:
        return self._forked.name if self._of_wanted is None else self._plain.name

    @property
    def note(self) -> str:
        """Why this is not the launcher that was asked for, or not as fast as it could be, or ""."""
        return str(getattr(self._forked, "note", "")) if self._of_wanted is None else self._of_wanted.reason

    @property
    def _of_wanted(self) -> GivenUp | None:
        return None if self._wanted is None else self._fallen_back(self._wanted)

    async def prepare(self, environment: Mapping[str, str]) -> None:
        self._wanted = shared_environment(environment)
        if self._fallen_back(self._wanted) is not None:
            return
        try:
            await self._forked.prepare(environment)
        except ForkServerUnusable as unusable:
            await self._fall_back(str(unusable), environment)

    async def launch(self, spec: LaunchSpec) -> Process:
        shared = shared_environment(spec.environment)
        if self._wanted is None:
            self._wanted = shared
        if self._fallen_back(shared) is None:
            try:
                return await self._forked.launch(spec)
            except ForkServerUnusable as unusable:
                await self._fall_back(str(unusable), spec.environment)
        return await self._plain.launch(spec)

    async def keep(self, environments: Sequence[Mapping[str, str]]) -> None:
        kept = [shared_environment(environment) for environment in environments]
        self._given_up = [given_up for given_up in self._given_up if given_up.environment in kept]
        self._wanted = kept[0] if kept else self._wanted
        await self._forked.keep(environments)
        await self._plain.keep(environments)

    async def close(self) -> None:
        await self._forked.close()
        await self._plain.close()

    def _fallen_back(self, shared: Mapping[str, str]) -> GivenUp | None:
        return next((given_up for given_up in self._given_up if given_up.environment == shared), None)

    async def _fall_back(self, reason: str, environment: Mapping[str, str]) -> None:
        shared = shared_environment(environment)
        if self._fallen_back(shared) is None:
            self._given_up = [*self._given_up[1 - MOST :], GivenUp(shared, reason)]
            self._events.publish(LauncherFellBack(reason=reason))
        await self._plain.prepare(environment)
