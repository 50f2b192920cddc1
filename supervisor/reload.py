"""From "the configuration may have changed" to a roll-out, or to a clear refusal.

Owns what is known about the configuration on disk: whether it was last refused, and why. An error in it changes nothing
but that. Which generation runs is the pool's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from supervisor import events as ev
from supervisor.control.operations import ReloadOutcome, ReloadResult
from supervisor.errors import ConfigurationRefused, Finding, Severity
from supervisor.litellm_config.build import build_generation
from supervisor.litellm_config.generation import Generation
from supervisor.litellm_config.write import remove_rendered, write_rendered

log = structlog.get_logger("litesup.reload")


Want = Callable[..., asyncio.Future[ReloadOutcome]]
"""`fleet.mailbox.Mailbox.want`."""


class Fleet(Protocol):
    """What a reload needs to know of the pool."""

    @property
    def wanted(self) -> Generation | None: ...

    @property
    def live_generations(self) -> frozenset[str]: ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """The configuration on disk cannot be used. `at` is Unix seconds."""

    at: float
    problems: tuple[str, ...]


class Reloader:
    """Reads the configuration, renders it, and asks the fleet to want it. One at a time, in order."""

    def __init__(
        self,
        source: Path,
        *,
        environ: Mapping[str, str],
        runtime_dir: Path,
        state_dir: Path,
        fleet: Fleet,
        want: Want,
        events: ev.Events,
        on_generation: Callable[[Generation], None],
        watch: Callable[[Iterable[Path]], None],
    ) -> None:
        """`watch` is told, after every reading, on which files its outcome depends."""
        self._source = source
        self._environ = environ
        self._runtime_dir = runtime_dir
        self._state_dir = state_dir
        self._fleet = fleet
        self._want = want
        self._events = events
        self._on_generation = on_generation
        self._watch = watch
        self._turn = asyncio.Lock()
        self._refusal: Refusal | None = None

    @property
    def refusal(self) -> Refusal | None:
        """Why the configuration on disk is not the one in force, while that is so."""
        return self._refusal

    def read(self) -> Generation:
        """The generation that the files describe now. Blocks on files. Raises ConfigurationRefused."""
        return build_generation(self._source, self._environ, self._state_dir)

    def begin(self, generation: Generation, *, reason: str, again: bool = False) -> asyncio.Future[ReloadOutcome]:
        """Renders it and makes it the wanted one. Raises ConfigurationRefused when it cannot be written."""
        self._on_generation(generation)
        self._watch_also(generation.watched)
        try:
            path = write_rendered(generation, self._runtime_dir)
        except OSError as error:
            raise ConfigurationRefused([_not_rendered(error, self._runtime_dir)]) from error
        known = self._fleet.wanted
        if known is None or known.digest != generation.digest:
            for finding in generation.adaptations:
                self._events.publish(ev.ConfigurationAdapted(str(finding)))
        remove_rendered(self._runtime_dir, self._fleet.live_generations | {generation.digest})
        return self._want(generation, path, reason=reason, again=again)

    async def reload(self, *, reason: str, wait: bool, again: bool) -> ReloadOutcome:
        """Reads again and rolls if something changed. With `wait`, returns when that has ended."""
        async with self._turn:
            try:
                generation = await asyncio.to_thread(self.read)
                future = self.begin(generation, reason=reason, again=again)
            except ConfigurationRefused as refused:
                return self._refuse(refused)
            except Exception as error:  # whatever it is, the old world stays
                log.exception("reload_failed")
                return self._refuse(ConfigurationRefused([_unexpected(error, self._source)]))
            self._refusal = None
        if wait:
            return await future
        await asyncio.sleep(0)
        return future.result() if future.done() else ReloadOutcome(ReloadResult.STARTED, generation.digest)

    def _watch_also(self, paths: Iterable[Path]) -> None:
        """What the wanted generation was made from stays watched: what was taken away may come back."""
        known = self._fleet.wanted
        self._watch([*paths, *(() if known is None else known.watched)])

    def _refuse(self, refused: ConfigurationRefused) -> ReloadOutcome:
        self._watch_also(refused.watched)
        problems = tuple(str(f) for f in refused.findings if f.severity is Severity.ERROR)
        wanted = self._fleet.wanted
        if self._refusal is None or self._refusal.problems != problems:
            self._events.publish(ev.ConfigurationChangeRefused(problems))
        self._refusal = Refusal(time.time(), problems)
        return ReloadOutcome(ReloadResult.REFUSED, "" if wanted is None else wanted.digest, problems)


def _not_rendered(error: OSError, directory: Path) -> Finding:
    return Finding(
        Severity.ERROR,
        "not-rendered",
        f"the configuration could not be written to {directory}: {error.strerror or error}",
        hint="make room there, then: litesup reload",
    )


def _unexpected(error: Exception, source: Path) -> Finding:
    """Names the kind only: the text of an error that nobody foresaw may hold anything, a secret included."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return Finding(
        Severity.ERROR, "not-read", f"reading it failed: {why}", hint="the daemon's log says where", file=source
    )
