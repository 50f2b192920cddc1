"""Which generation the pool is steering for: what is wanted, what is on trial, what failed, and who waits to hear.

The pool's own record, changed by the pool alone and without ever waiting; what to do about it is the planner's.
"""

from __future__ import annotations

import asyncio
import time

from supervisor import events as ev
from supervisor.control.operations import ReloadOutcome, ReloadResult
from supervisor.fleet.messages import Target, Want
from supervisor.litellm_config.generation import Generation
from supervisor.policy import rollout
from supervisor.policy.rollout import ReplicaView, Trial

MOST_FAILED = 20
"""Generations whose failure is remembered; one that failed so long ago may be tried again."""


class Course:
    """`wanted`, `trial` and `last_good` are what the planner needs; the rest is for people."""

    def __init__(self, events: ev.Events) -> None:
        self._events = events
        self._targets: dict[str, Target] = {}
        self._outcomes: list[asyncio.Future[ReloadOutcome]] = []
        self._roll_started_at: float | None = None
        self.wanted: Generation | None = None
        self.reason = ""  # why it is wanted
        self.since = 0.0  # Unix seconds
        self.last_good: str | None = None
        self.failed: dict[str, str] = {}  # the generations that were given up, and why
        self.trial: Trial | None = None
        self._lost = ""  # how the last replica ended whose end counts against what is on trial
        self._migrated: set[str] = set()  # some replica of these has served, and so the schema is theirs

    @property
    def rolling(self) -> bool:
        return self._roll_started_at is not None

    @property
    def generations(self) -> frozenset[str]:
        """Digests that a replica may be started with, be it after a roll-back."""
        return frozenset(self._targets)

    @property
    def serving(self) -> Generation | None:
        """What was good last, or what is to become so for the first time."""
        return self.good or self.wanted

    @property
    def launchable(self) -> tuple[Generation, ...]:
        """What replicas are started with from now on: what is wanted, and what would be gone back to."""
        if self.wanted is None:
            return ()
        others = (self.last_good, None if self.trial is None else self.trial.previous)
        digests = dict.fromkeys((self.wanted.digest, *(digest for digest in others if digest in self._targets)))
        return tuple(self._targets[digest].generation for digest in digests if digest is not None)

    @property
    def good(self) -> Generation | None:
        """The one that last proved good, which is what serves while another is on trial."""
        target = None if self.last_good is None else self._targets.get(self.last_good)
        return None if target is None else target.generation

    @property
    def in_force(self) -> bool:
        """Whether what is wanted has proved good, and nothing is under way."""
        return self.wanted is not None and self.last_good == self.wanted.digest and not self.rolling

    @property
    def unmigrated(self) -> bool:
        """Whether the database's schema has yet to become that of what is wanted."""
        return self.wanted is not None and self.wanted.migrates and self.wanted.digest not in self._migrated

    def target(self, digest: str) -> Target:
        return self._targets[digest]

    def want(self, message: Want, now: float) -> bool:
        """Takes a wish into account; true when it changes the course."""
        generation, digest = message.generation, message.generation.digest
        if message.again:
            self.failed.pop(digest, None)
        if digest in self.failed:
            message.outcome.set_result(ReloadOutcome(ReloadResult.ROLLED_BACK, digest, (self.failed[digest],)))
            return False
        if self.wanted is not None and self.wanted.digest == digest:
            if self.rolling:
                self._outcomes.append(message.outcome)
            else:
                message.outcome.set_result(ReloadOutcome(ReloadResult.UNCHANGED, digest))
            return False
        previous = self.wanted
        if previous is not None:
            self._tell(ReloadOutcome(ReloadResult.SUPERSEDED, previous.digest))
        self._outcomes.append(message.outcome)
        self._targets[digest] = Target(generation, message.config_path)
        self._steer(digest, message.reason)
        self.trial = self._trial_of(digest, message.fallback if previous is None else None)
        self._roll_started_at = now
        if previous is not None:
            self._events.publish(ev.RolloutStarted(digest, previous.digest, message.reason))
        return True

    def _trial_of(self, digest: str, fallback: Target | None) -> Trial | None:
        if self.last_good is not None:
            return Trial(digest, self.last_good) if self.last_good != digest else None
        if self.trial is not None and self.trial.first:  # a newer one before the first has stood
            return Trial(digest, self.trial.previous, first=True) if self.trial.previous != digest else None
        if fallback is None or fallback.generation.digest == digest:
            return None
        self._targets[fallback.generation.digest] = fallback
        return Trial(digest, fallback.generation.digest, first=True)

    def served(self, digest: str) -> None:
        """A replica of this generation became ready. Without a trial to pass, that makes it good."""
        self._migrated.add(digest)
        if self.trial is None and self.wanted is not None and self.wanted.digest == digest:
            self.last_good = digest

    def canary_is(self, replica: int | None) -> None:
        """The replica on trial. None after it was sent away: it has proved nothing, and another takes the test."""
        assert self.trial is not None
        self.trial = Trial(self.trial.generation, self.trial.previous, canary=replica)

    def is_on_trial(self, digest: str) -> bool:
        """Whether the next replica of this generation will be its first."""
        return self.trial is not None and not self.trial.passed and self.trial.generation == digest

    def is_canary(self, replica: int) -> bool:
        return self.trial is not None and not self.trial.passed and self.trial.canary == replica

    def exited(self, view: ReplicaView, text: str) -> bool:
        """A replica ended by itself; true when it was the canary, whose end is the generation's and not its slot's."""
        if self.is_canary(view.replica):
            self._lost = text
            return True
        before, self.trial = self.trial, rollout.after_exit(self.trial, view, expected=False)
        if self.trial is not before:
            self._lost = text
        return False

    def passed(self) -> None:
        """The canary stood."""
        trial = self.trial
        assert trial is not None
        self.last_good = trial.generation
        self.trial = None if trial.first else Trial(trial.generation, trial.previous, trial.canary, passed=True)

    def gave_up(self, reason: str) -> None:
        """The generation on trial is no good: back to the one before."""
        trial = self.trial
        assert trial is not None
        if self._lost:
            reason = f"{reason}: {self._lost}"
        self.failed[trial.generation] = reason
        while len(self.failed) > MOST_FAILED:
            del self.failed[next(iter(self.failed))]
        self.last_good = trial.previous
        self._steer(trial.previous, "rolled back")
        self.trial, self._roll_started_at = None, None
        self._events.publish(ev.RolloutFailed(trial.generation, trial.previous, reason))
        self._tell(ReloadOutcome(ReloadResult.ROLLED_BACK, trial.generation, (reason,)))

    def arrived(self, running: frozenset[str], now: float) -> None:
        """All that is wanted serves. `running` are the generations that some replica still has."""
        assert self.wanted is not None
        digest = self.wanted.digest
        self.last_good, self.trial = digest, None
        if self._roll_started_at is not None:
            self._events.publish(ev.RolloutCompleted(digest, now - self._roll_started_at))
            self._roll_started_at = None
            self._tell(ReloadOutcome(ReloadResult.ROLLED, digest))
        self._targets = {key: target for key, target in self._targets.items() if key in running | {digest}}
        self._migrated &= self._targets.keys()

    def waiting(self) -> list[asyncio.Future[ReloadOutcome]]:
        """Those who still wait to hear."""
        return list(self._outcomes)

    def _steer(self, digest: str, reason: str) -> None:
        self.wanted, self.reason, self.since = self._targets[digest].generation, reason, time.time()
        self._lost = ""

    def _tell(self, outcome: ReloadOutcome) -> None:
        outcomes, self._outcomes = self._outcomes, []
        for future in outcomes:
            if not future.done():
                future.set_result(outcome)
