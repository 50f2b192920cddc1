"""A reloader before a fleet that does what it is told, and a history that is kept as the pool's keeper would."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from supervisor import events as ev
from supervisor.control.operations import ReloadOutcome, ReloadResult
from supervisor.fleet.messages import Target
from supervisor.history.store import History
from supervisor.litellm_config.generation import Generation
from supervisor.reload import Reloader

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


async def start(scene: Scene, *, last_good: bool = True) -> None:
    scene.reloader.start(scene.reloader.first(last_good=last_good))
