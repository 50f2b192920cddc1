"""What an operator saves, and the daemon's own way from a changed file to the pool, inside a simulation.

The file is real, and so are reading, rendering and the reloader; when a change is noticed is drawn, within the bounds of
`watch`. How the replicas of a text behave is written in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from supervisor.control.operations import ReloadResult
from supervisor.errors import ConfigurationRefused
from supervisor.litellm_config.generation import Generation
from supervisor.reload import Reloader
from tests.fleet.simulation import (
    DIES_SOON,
    FLAKY,
    GOOD,
    REFUSES,
    SHAKY,
    SILENT,
    SLOW,
    TOO_SLOW,
    UNFIT,
    Behaviour,
    Simulation,
)

BEHAVIOURS = {
    "good": GOOD,
    "slow": SLOW,
    "refuses": REFUSES,
    "dies": DIES_SOON,
    "silent": SILENT,
    "shaky": SHAKY,
    "late": TOO_SLOW,
    "unfit": UNFIT,
    "flaky": FLAKY,
}
BAD = ("refuses", "dies", "silent", "shaky", "late", "unfit", "flaky")

NOTICED = (0.3, 2.3)
"""Seconds from a change to its being noticed: at best the debounce, at worst the next look at the file besides."""


def text(number: int, kind: str) -> str:
    return f"model_list:\n  - model_name: g{number}-{kind}\n    litellm_params: {{model: openai/x, api_key: none}}\n"


def behaviour_of(generation: Generation) -> Behaviour:
    found = re.search(r"model_name: g\d+-(\w+)", generation.config_text)
    return BEHAVIOURS[found[1]] if found else GOOD


class InTurn(ThreadPoolExecutor):
    """Runs what it is given at once: a thread would prove nothing here, and costs most of the time."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class RememberingReloader(Reloader):
    """Reads each text once. The text alone decides here, because nothing else changes."""

    def __init__(self, source: Path, **rest: Any) -> None:
        super().__init__(source, **rest)
        self._file = source
        self._read: dict[str, Generation | ConfigurationRefused] = {}

    def read(self) -> Generation:
        content = self._file.read_text() if self._file.exists() else "(no file)"
        if content not in self._read:
            try:
                self._read[content] = super().read()
            except ConfigurationRefused as refused:
                self._read[content] = refused
        known = self._read[content]
        if isinstance(known, ConfigurationRefused):
            raise known
        return known


class Saves:
    """One operator's file, and whoever looks at it."""

    def __init__(self, simulation: Simulation, folder: Path) -> None:
        self._simulation = simulation
        self._random = simulation.random
        self.file = folder / "litellm.config.yaml"
        runtime, state = folder / "run", folder / "state"
        simulation.loop.set_default_executor(InTurn())
        for directory in (runtime, state):
            directory.mkdir(mode=0o700)
        self.reloader = RememberingReloader(
            self.file,
            environ={"PATH": "/usr/bin"},
            runtime_dir=runtime,
            state_dir=state,
            fleet=simulation.pool,
            want=simulation.pool.mailbox.want,
            events=simulation.events,
            on_generation=self._learn,
            watch=lambda _paths: None,
        )

    # Ways to save.

    def save(self, content: str) -> None:
        """In one piece, as an editor that renames does."""
        self.file.write_text(content)
        self._touched()

    def save_in_two_pieces(self, content: str) -> None:
        """Whoever looks between the two sees half a file."""
        self.file.write_text(content[: self._random.randrange(len(content))])
        self._touched()
        self._simulation.later(self._random.uniform(0.0, 3.0), lambda: self.save(content))

    def save_after_moving_away(self, content: str) -> None:
        """For a moment there is no file at all."""
        self.file.unlink(missing_ok=True)
        self._touched()
        self._simulation.later(self._random.uniform(0.0, 3.0), lambda: self.save(content))

    def _touched(self) -> None:
        self._simulation.later(self._random.uniform(*NOTICED), self.reload)

    # What the daemon makes of it.

    def on_disk(self) -> Generation | None:
        """What the file describes now; None when it cannot be used."""
        try:
            generation = self.reloader.read()
        except ConfigurationRefused:
            return None
        return generation if "model_name" in generation.config_text else None  # half a file, and the models are gone

    def reload(self, *, again: bool = False) -> None:
        simulation, pool = self._simulation, self._simulation.pool
        before, expected = pool.wanted, self.on_disk()
        outcome = simulation.loop.run_until_complete(self.reloader.reload(reason="test", wait=False, again=again))
        messages = simulation.loop.run_until_complete(pool.mailbox.take(0.0))
        if expected is None:
            assert outcome.result is ReloadResult.REFUSED
            assert not messages
            assert pool.wanted is before, "a file with an error in it changes nothing"
            assert self.reloader.on_disk.refusal is not None
            return
        assert self.reloader.on_disk.refusal is None
        for message in messages:
            simulation.tell(message)
        simulation.promises.saved(expected.digest)

    def _learn(self, generation: Generation) -> None:
        self._simulation.behaviours[generation.digest] = behaviour_of(generation)
