"""From "the configuration may have changed" to a roll-out, or to a clear refusal.

An error in a file changes nothing but what is known of it, which is `standing`'s. Which generation runs is the pool's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import structlog

from supervisor import events as ev
from supervisor.control.operations import HistoryEntry, ReloadOutcome, ReloadResult
from supervisor.errors import ConfigurationRefused, Finding, Severity
from supervisor.fleet.messages import Target
from supervisor.history.choice import Substitute, choose, made_again
from supervisor.history.first import First, first_generation
from supervisor.history.listed import listed
from supervisor.history.store import History, InForce
from supervisor.litellm_config.build import build_generation
from supervisor.litellm_config.generation import Generation
from supervisor.litellm_config.named import refuse_loss_of_all
from supervisor.litellm_config.write import remove_rendered, write_rendered
from supervisor.standing import Instead, OnDisk, Standing, words_of

log = structlog.get_logger("litesup.reload")

ROLLED_BACK = "rolled back by the operator"
LAST_GOOD = "last good"

MOST_FOLLOWED = 100
"""Newer changes that somebody who waits is taken along to; a bound, not a tuning."""

Want = Callable[..., asyncio.Future[ReloadOutcome]]
"""`fleet.mailbox.Mailbox.want`."""


class Fleet(Protocol):
    """What a reload needs to know of the pool."""

    @property
    def wanted(self) -> Generation | None: ...

    @property
    def good(self) -> Generation | None: ...

    @property
    def in_force(self) -> bool: ...

    @property
    def live_generations(self) -> frozenset[str]: ...


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
        redact: Callable[[str], str] = str,
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
        self._history = History(state_dir, source)
        self._standing = Standing(redact)
        self._turn = asyncio.Lock()
        self._latest: tuple[str, asyncio.Future[ReloadOutcome]] | None = None  # why, and how that ends
        self._reason = ("", "")  # the digest that was wanted last, and why
        self._read_from: tuple[Path, ...] = ()  # on what the last reading of the disk, refused or not, depends

    # What others may see.

    @property
    def on_disk(self) -> OnDisk:
        return self._standing.seen(wanted=self._fleet.wanted, good=self._fleet.good)

    def in_force(self) -> InForce | None:
        """What serves everywhere, as it is to be kept; None while nothing does."""
        wanted = self._fleet.wanted
        if wanted is None or not self._fleet.in_force:
            return None
        instead = self.on_disk.instead
        digest, reason = self._reason
        return InForce(
            wanted,
            reason if digest == wanted.digest else "rolled back",
            gone_back_to=instead is not None,
            instead_of=frozenset() if instead is None else instead.instead_of,
        )

    async def history(self) -> tuple[HistoryEntry, ...]:
        """What is kept, what came into force last first."""
        return listed(await asyncio.to_thread(self._history.shelf), self._fleet.good)

    # From the start on.

    def first(self, *, last_good: bool) -> First:
        """What to start with. Blocks on files. Raises ConfigurationRefused."""
        return first_generation(self._source, self._environ, self._state_dir, last_good=last_good)

    def start(self, first: First) -> None:
        """Makes it wanted. Raises ConfigurationRefused when it cannot be written."""
        for reason in first.skipped:
            self._events.publish(ev.HistorySkipped(reason))
        self._standing.described = first.on_disk
        if first.on_disk is not None:
            self._read_from = first.on_disk.watched
        substitute, fallback = first.substitute, first.fallback
        if substitute is None:
            future = self.begin(first.generation, reason="start", fallback=fallback)
            if fallback is not None:
                self._standing.set_instead(fallback.generation, Instead(fallback.kept))
                future.add_done_callback(self._start_ended)
        elif first.refused is not None:
            refused = self._refuse(first.refused)
            self.begin(first.generation, reason=LAST_GOOD)
            self._stand_in(first.generation, Instead(substitute.kept, problems=refused.problems))
        elif first.on_disk is not None:
            self.begin(first.generation, reason=ROLLED_BACK)
            self._roll_back(substitute, first.on_disk, substitute.kept.instead_of)
            self._on_generation(first.on_disk)
            self._standing.compare(first.generation)

    def _start_ended(self, future: asyncio.Future[ReloadOutcome]) -> None:
        wanted = self._fleet.wanted
        instead = self._standing.instead_of(wanted)
        if wanted is None or instead is None or future.cancelled() or future.exception() is not None:
            return
        outcome = future.result()
        if outcome.result is ReloadResult.ROLLED_BACK:
            self._stand_in(wanted, dataclasses.replace(instead, problems=outcome.problems))
            self._standing.compare(wanted)  # nothing serves yet that this could keep waiting

    def _stand_in(self, generation: Generation, instead: Instead) -> None:
        self._standing.set_instead(generation, instead)
        self._events.publish(ev.LastGoodStarted(generation.digest, instead.kept.kept_at, instead.problems))

    # From one to the next.

    def read(self) -> Generation:
        """The generation that the files describe now. Blocks on files. Raises ConfigurationRefused."""
        return build_generation(self._source, self._environ, self._state_dir)

    def begin(
        self, generation: Generation, *, reason: str, again: bool = False, fallback: Substitute | None = None
    ) -> asyncio.Future[ReloadOutcome]:
        """Renders it and makes it the wanted one. Raises ConfigurationRefused when it cannot be written."""
        self._watch_all(generation)
        try:
            behind = None if fallback is None else self._rendered(fallback.generation)
            target = self._rendered(generation)
        except OSError as error:
            raise ConfigurationRefused([_not_rendered(error, self._runtime_dir)]) from error
        known = self._fleet.wanted
        if known is None or known.digest != generation.digest:
            self._reason = (generation.digest, reason)
            for finding in generation.adaptations:
                self._events.publish(ev.ConfigurationAdapted(str(finding)))
        needed = {each.generation.digest for each in (target, behind) if each is not None}
        remove_rendered(self._runtime_dir, self._fleet.live_generations | needed)
        future = self._want(generation, target.config_path, reason=reason, again=again, fallback=behind)
        self._latest = (reason, future)
        return future

    def _rendered(self, generation: Generation) -> Target:
        self._on_generation(generation)
        return Target(generation, write_rendered(generation, self._runtime_dir))

    async def reload(self, *, reason: str, wait: bool, again: bool) -> ReloadOutcome:
        """Reads again and rolls if something changed. With `wait`, returns when that has ended.

        `again` is somebody's word: what failed before, or was rolled back from, is applied once more.
        """
        async with self._turn:
            try:
                on_disk = await asyncio.to_thread(self.read)
                self._found(on_disk)
                generation = on_disk if again else await self._unless_set_aside(on_disk)
                await asyncio.to_thread(refuse_loss_of_all, generation, self._fleet.good or self._fleet.wanted)
                await self._compare(self._fleet.good or self._fleet.wanted)
                future = self.begin(generation, reason=reason, again=again)
            except ConfigurationRefused as refused:
                return self._refuse(refused)
            except Exception as error:  # whatever it is, the old world stays
                return self._refuse(self._unforeseen(error))
            self._standing.refusal = None
            if generation is on_disk:
                self._standing.agrees(generation)
        if not wait:
            return await _at_once(future, generation)
        outcome = await asyncio.shield(future)
        for _ in range(MOST_FOLLOWED):
            if outcome.result is not ReloadResult.SUPERSEDED or self._latest is None or self._latest[1] is future:
                break
            reason, future = self._latest
            if reason == ROLLED_BACK:
                return dataclasses.replace(outcome, problems=("the operator rolled back meanwhile",))
            outcome = await asyncio.shield(future)  # a newer reading of the same files
        return outcome

    async def _unless_set_aside(self, on_disk: Generation) -> Generation:
        """What to roll to. Not to what the operator went back from: then it is that choice, in today's environment."""
        wanted = self._fleet.wanted
        instead = self._standing.instead_of(wanted)
        if instead is None or not instead.by_operator or words_of(on_disk) not in instead.instead_of:
            return on_disk
        substitute = await asyncio.to_thread(made_again, instead.kept, self._environ, self._state_dir)
        self._standing.set_instead(substitute.generation, instead)
        return substitute.generation

    async def rollback(self, digest: str | None, *, wait: bool) -> ReloadOutcome:
        """Back to the good generation before the present one, or to the one whose digest begins so.

        What is on disk is then not applied before it changes, or somebody says so.
        """
        async with self._turn:
            await self._look()
            present = self._fleet.wanted
            try:
                chosen = await asyncio.to_thread(self._choose, digest, present)
                generation = chosen.generation
                left = {words_of(each) for each in (present, self._standing.described) if each is not None} - {
                    words_of(generation)
                }
                if present is not None and present.digest == generation.digest:
                    if left:  # it serves already, because what is on disk failed: now that is set aside as well
                        self._roll_back(chosen, present, frozenset(left))
                    return ReloadOutcome(ReloadResult.UNCHANGED, generation.digest)
                future = self.begin(generation, reason=ROLLED_BACK, again=True)
            except ConfigurationRefused as refused:
                problems = tuple(str(finding) for finding in refused.findings)
                return ReloadOutcome(ReloadResult.REFUSED, "" if present is None else present.digest, problems)
            self._roll_back(chosen, present, frozenset(left))
            await self._compare(generation)
        return await asyncio.shield(future) if wait else await _at_once(future, generation)

    def _roll_back(self, chosen: Substitute, present: Generation | None, instead_of: frozenset[str]) -> None:
        self._standing.set_instead(chosen.generation, Instead(chosen.kept, by_operator=True, instead_of=instead_of))
        previous = "" if present is None else present.digest
        self._events.publish(ev.RolledBackByOperator(chosen.generation.digest, previous))

    def _choose(self, prefix: str | None, present: Generation | None) -> Substitute:
        return choose(self._history.shelf(), prefix, present, self._environ, self._state_dir)

    async def _look(self) -> None:
        """Learns what is on disk now, and applies none of it."""
        try:
            self._found(await asyncio.to_thread(self.read))
        except ConfigurationRefused as refused:
            self._refuse(refused)
        except Exception as error:  # as in `reload`
            self._refuse(self._unforeseen(error))
        else:
            self._standing.refusal = None

    def _found(self, on_disk: Generation) -> None:
        self._standing.described, self._read_from = on_disk, on_disk.watched

    async def _compare(self, serves: Generation | None) -> None:
        """Notes what tells the configuration on disk from what serves. Its secrets have to be known before."""
        on_disk = self._standing.described
        if on_disk is not None and serves is not None:
            self._on_generation(on_disk)
            await asyncio.to_thread(self._standing.compare, serves)

    def _watch_all(self, *generations: Generation) -> None:
        """What the wanted generation was made from stays watched: what was taken away may come back."""
        known = self._fleet.wanted
        wanted = generations if known is None else (*generations, known)
        self._watch([*self._read_from, *(path for each in wanted for path in each.watched)])

    def _refuse(self, refused: ConfigurationRefused) -> ReloadOutcome:
        self._read_from = refused.watched or self._read_from
        self._watch_all()
        problems = tuple(str(f) for f in refused.findings if f.severity is Severity.ERROR)
        wanted = self._fleet.wanted
        if self._standing.refused(time.time(), problems):
            self._events.publish(ev.ConfigurationChangeRefused(problems))
        return ReloadOutcome(ReloadResult.REFUSED, "" if wanted is None else wanted.digest, problems)

    def _unforeseen(self, error: Exception) -> ConfigurationRefused:
        log.error("reload_failed", exc_info=error)
        return ConfigurationRefused([_unexpected(error, self._source)])


async def _at_once(future: asyncio.Future[ReloadOutcome], generation: Generation) -> ReloadOutcome:
    """How it ended, if that is known at once."""
    await asyncio.sleep(0)
    return future.result() if future.done() else ReloadOutcome(ReloadResult.STARTED, generation.digest)


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
