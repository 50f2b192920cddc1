"""The owner of slots and replicas.

One mailbox, one reader. Something happens, the pool notes it, asks the planner what the next small step is, and takes
it. Nobody else changes a replica's state, and nobody waits for the pool except through a future that came with a
message. What should happen is decided in `policy/`; here is how.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor import events as ev
from supervisor.control.operations import ReloadOutcome, ReloadResult
from supervisor.errors import LitesupError
from supervisor.fleet.member import Member, SlotHistory
from supervisor.fleet.messages import (
    Answered,
    Drained,
    DrainSlot,
    Exited,
    Launched,
    Message,
    Overstayed,
    Probed,
    Replace,
    Scale,
    StopAll,
    Want,
    Warmed,
)
from supervisor.fleet.replica import Replica
from supervisor.litellm_config.generation import Generation
from supervisor.policy import rollout
from supervisor.policy.health import Verdict, judge
from supervisor.policy.lifecycle import LIVE, Happening, IllegalTransition, State
from supervisor.policy.restart import SlotRecord, after_exit, due_at, forgiven
from supervisor.policy.rollout import FailTrial, Kill, Leave, PassTrial, Plan, Rules, Spawn, Trial, World
from supervisor.rotation import Rotation, Upstream

MakeReplica = Callable[[int, int, Generation, Path, Callable[[Message], None]], Replica]
"""Builds the shell of a replica from its number, its slot, its generation and where that is rendered."""

MOST_FAILED = 20
"""Generations whose failure is remembered; one that failed so long ago may be tried again."""

STEPS_AT_ONCE = 8
"""How often the planner is asked in a row: a verdict, what follows from it, and room; a bound, not a tuning."""


STOPS = "the daemon stops"


@dataclass(frozen=True, slots=True)
class FleetRules:
    planning: Rules
    kill_after: float


@dataclass(frozen=True, slots=True)
class Target:
    """A generation that may be wanted, and where it is rendered."""

    generation: Generation
    config_path: Path


class Pool:
    """Keeps as many replicas of the wanted generation as are wanted."""

    def __init__(
        self,
        count: int,
        *,
        rotation: Rotation,
        events: ev.Events,
        make_replica: MakeReplica,
        rules: FleetRules,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._count = count
        self._rotation = rotation
        self._events = events
        self._make_replica = make_replica
        self._rules = rules
        self._clock = clock
        self._jitter = jitter
        self._mailbox: asyncio.Queue[Message] = asyncio.Queue()
        self._members: dict[int, Member] = {}
        self._records: dict[int, SlotRecord] = {}
        self._histories: dict[int, SlotHistory] = {}
        self._targets: dict[str, Target] = {}
        self._wanted: Target | None = None
        self._wanted_reason = ""
        self._wanted_at = 0.0
        self._last_good: str | None = None
        self._failed: dict[str, str] = {}
        self._trial: Trial | None = None
        self._lost_canary = ""  # how it ended, if it did
        self._roll_started_at: float | None = None
        self._outcomes: list[asyncio.Future[ReloadOutcome]] = []
        self._replace: set[int] = set()
        self._replacing: list[tuple[asyncio.Future[tuple[int, ...]], tuple[int, ...], frozenset[int]]] = []
        self._next_number = 1
        self._stopping = False
        self._group: asyncio.TaskGroup | None = None

    def __repr__(self) -> str:
        states = ", ".join(f"{m.slot}:{m.state.value}" for m in self._members.values())
        return f"<Pool: {self._count} wanted, {states or 'none'}>"

    # What others ask; all of it arrives through the mailbox.

    def want(
        self, generation: Generation, config_path: Path, *, reason: str, again: bool
    ) -> asyncio.Future[ReloadOutcome]:
        """Makes this the generation to run. The future tells how that ended.

        With `again`, a generation that failed before is tried once more.
        """
        outcome: asyncio.Future[ReloadOutcome] = asyncio.get_running_loop().create_future()
        self._mailbox.put_nowait(Want(generation, config_path, reason, outcome, again))
        return outcome

    def scale(self, count: int) -> None:
        self._mailbox.put_nowait(Scale(count))

    async def replace(self, slots: tuple[int, ...]) -> tuple[int, ...]:
        """Exchanges the replicas of these slots (all, if none is named); returns when the new ones serve."""
        done: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
        self._mailbox.put_nowait(Replace(slots, done))
        return await done

    async def drain(self, slot: int) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._mailbox.put_nowait(DrainSlot(slot, done))
        await done

    def stop(self) -> None:
        """Ends every replica; `run` returns when none is left."""
        self._mailbox.put_nowait(StopAll())

    def kill(self, reason: str) -> None:
        """Ends every replica now."""
        for member in self._members.values():
            self._kill(member, reason)

    # What others may see.

    @property
    def members(self) -> tuple[Member, ...]:
        return tuple(self._members.values())

    @property
    def count(self) -> int:
        return self._count

    @property
    def wanted(self) -> Generation | None:
        return None if self._wanted is None else self._wanted.generation

    @property
    def wanted_reason(self) -> str:
        return self._wanted_reason

    @property
    def wanted_at(self) -> float:
        """When the wanted generation was asked for, Unix seconds."""
        return self._wanted_at

    @property
    def last_good(self) -> str | None:
        return self._last_good

    @property
    def failed(self) -> dict[str, str]:
        """The generations that were given up, and why."""
        return dict(self._failed)

    @property
    def rolling(self) -> bool:
        return self._roll_started_at is not None

    @property
    def ready(self) -> int:
        return sum(1 for member in self._members.values() if member.serving)

    @property
    def live_generations(self) -> frozenset[str]:
        """Digests that some replica runs, or may be started with, be it after a roll-back."""
        return frozenset(self._targets.keys() | {m.generation.digest for m in self._members.values()})

    def record(self, slot: int) -> SlotRecord:
        return self._records.get(slot, SlotRecord())

    def history(self, slot: int) -> SlotHistory:
        return self._histories.get(slot, SlotHistory())

    def next_try(self, slot: int) -> float:
        """Seconds until an empty slot is filled again."""
        short = self.ready < self._count - 1
        due = due_at(self.record(slot), short=short, rules=self._rules.planning.restart)
        return max(0.0, due - self._clock())

    # The one reader.

    async def run(self) -> None:
        """Runs until `stop` was asked and no replica is left. Cancelled, it kills them all."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                wake_at = self.step()
                while not (self._stopping and not self._members):
                    await self._take_mail(wake_at)
                    wake_at = self.step()
        finally:
            self._group = None
            self._abandon_futures()

    async def _take_mail(self, wake_at: float) -> None:
        patience = None if wake_at == rollout.NEVER else max(0.0, wake_at - self._clock())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                self.note(await self._mailbox.get())
        while not self._mailbox.empty():
            self.note(self._mailbox.get_nowait())

    def step(self) -> float:
        """Asks the planner and does what it says; returns when to ask again. Never waits."""
        if self._wanted is None or self._stopping:
            return rollout.NEVER
        for _ in range(STEPS_AT_ONCE):
            now = self._clock()
            plan = rollout.plan(self._world(), now=now, rules=self._rules.planning)
            for action in plan.actions:
                self._act(action, now)
            if not plan.actions:
                self._finish(plan, now)
                return plan.wake_at
        return self._clock()

    def _world(self) -> World:
        assert self._wanted is not None
        return World(
            count=self._count,
            generation=self._wanted.generation.digest,
            replicas=[member.view() for member in self._members.values()],
            slots=self._records,
            trial=self._trial,
            replace=frozenset(self._replace),
            lost_canary=bool(self._lost_canary),
        )

    # Noting what happened.

    def note(self, message: Message) -> None:
        """Takes one message into account. Never waits, and does nothing beyond what the message says."""
        now = self._clock()
        match message:
            case Want():
                self._note_want(message, now)
            case Scale(count=count):
                self._count = count
            case Replace():
                self._note_replace(message)
            case DrainSlot(slot=slot, done=done):
                self._note_drain(slot, done, now)
            case StopAll():
                self._stopping = True
                for member in self._members.values():
                    self._stop(member, "the daemon stops")
            case _:
                if (about := self._members.get(message.replica)) is not None:
                    try:
                        self._note_about(about, message, now)
                    except IllegalTransition as error:  # a bug of ours about one replica must not take the others down
                        self._kill(about, f"internal error: {error}")

    def _note_about(self, member: Member, message: Message, now: float) -> None:
        match message:
            case Launched(pid=pid):
                member.pid = pid
                self._events.publish(ev.ReplicaSpawned(**member.named(), pid=pid, reason=member.reason))
            case Answered():
                member.last_answer_at = now
                member.happens(Happening.ANSWERED)
            case Warmed(incomplete=incomplete):
                if incomplete is not None:
                    self._events.publish(ev.ReplicaWarmUpIncomplete(**member.named(), reason=incomplete))
                if member.happens(Happening.WARMED):
                    self._became_ready(member, now)
            case Probed(missed=missed):
                self._note_probe(member, missed, now)
            case Drained():
                if member.happens(Happening.DRAINED):
                    self._rotation.remove(member.replica)
                    member.shell.stop()
            case Overstayed():
                self._kill(member, "did not end in time after SIGTERM")
            case Exited():
                self._note_exit(member, message, now)
            case _:
                raise AssertionError(message)

    def _became_ready(self, member: Member, now: float) -> None:
        member.ready_since = now
        member.last_answer_at = now
        self._rotation.add(
            Upstream(
                replica=member.replica,
                slot=member.slot,
                generation=member.generation.digest,
                socket_path=member.shell.spec.socket_path,
                credential=member.generation.master_key,
                key_header=member.generation.key_header,
            )
        )
        if (
            self._trial is None
            and self._wanted is not None
            and self._wanted.generation.digest == member.generation.digest
        ):
            self._last_good = member.generation.digest
        assert member.pid is not None
        self._events.publish(ev.ReplicaReady(**member.named(), pid=member.pid, seconds=now - member.spawned_at))

    def _note_probe(self, member: Member, missed: str | None, now: float) -> None:
        if missed is None:
            member.misses, member.last_answer_at = 0, now
            if member.happens(Happening.PROBE_ANSWERED):
                self._rotation.set_suspect(member.replica, False)
                self._events.publish(ev.ReplicaRecovered(**member.named()))
            return
        member.misses += 1
        member.doubted = True
        if member.happens(Happening.PROBE_MISSED):
            self._rotation.set_suspect(member.replica, True)
            self._events.publish(ev.ReplicaSuspect(**member.named(), reason=missed))
        upstream = self._rotation.get(member.replica)
        vitals = member.vitals(upstream.last_byte_at if upstream else float("-inf"))
        at_work = member.state in LIVE or member.state is State.DRAINING
        if at_work and judge(vitals, now=now, kill_after=self._rules.kill_after) is Verdict.HUNG:
            self._kill(member, f"hung: no answer and no byte for {self._rules.kill_after:g} s")

    def _note_exit(self, member: Member, message: Exited, now: float) -> None:
        del self._members[member.replica]
        self._replace.discard(member.replica)
        self._rotation.remove(member.replica)
        view = member.view()
        member.happens(Happening.EXITED)
        text = str(message.status) if message.status is not None else message.error
        if member.killed:
            text = f"killed: {member.killed}"
        if message.status is None:
            self._events.publish(ev.ReplicaLaunchFailed(**member.named(), reason=message.error))
        else:
            self._events.publish(
                ev.ReplicaExited(
                    **member.named(), pid=member.pid or 0, status=str(message.status), expected=member.expected
                )
            )
        self._histories[member.slot] = self.history(member.slot).after(text, expected=member.expected)
        if member.expected:
            return
        if self._trial is not None and self._trial.canary == member.replica and not self._trial.passed:
            self._lost_canary = text
            return
        self._trial = rollout.after_exit(self._trial, view, expected=False)
        record = after_exit(
            self.record(member.slot),
            ready_since=member.ready_since,
            now=now,
            jitter=self._jitter(),
            rules=self._rules.planning.restart,
        )
        self._records[member.slot] = record
        if record.failures > 1:
            self._events.publish(ev.RestartDelayed(member.slot, self.next_try(member.slot), record.failures))

    def _note_want(self, message: Want, now: float) -> None:
        generation, digest = message.generation, message.generation.digest
        if self._stopping:
            message.outcome.set_exception(LitesupError(STOPS))
            return
        if message.again:
            self._failed.pop(digest, None)
        if digest in self._failed:
            message.outcome.set_result(ReloadOutcome(ReloadResult.ROLLED_BACK, digest, (self._failed[digest],)))
            return
        if self._wanted is not None and self._wanted.generation.digest == digest:
            if self.rolling:
                self._outcomes.append(message.outcome)
            else:
                message.outcome.set_result(ReloadOutcome(ReloadResult.UNCHANGED, digest))
            return
        self._settle_outcomes(ReloadOutcome(ReloadResult.SUPERSEDED, digest))
        previous = self._wanted.generation.digest if self._wanted else None
        self._targets[digest] = Target(generation, message.config_path)
        self._wanted, self._wanted_reason, self._wanted_at = self._targets[digest], message.reason, time.time()
        self._lost_canary = ""
        good = self._last_good
        self._trial = Trial(digest, good) if good is not None and good != digest else None
        self._records = {slot: forgiven(record) for slot, record in self._records.items()}
        self._roll_started_at = now
        self._outcomes.append(message.outcome)
        if previous is not None:
            self._events.publish(ev.RolloutStarted(digest, previous, message.reason))

    def _note_replace(self, message: Replace) -> None:
        if self._stopping:
            message.done.set_exception(LitesupError(STOPS))
            return
        slots = message.slots or tuple(range(1, self._count + 1))
        unknown = sorted(slot for slot in slots if not 1 <= slot <= self._count)
        if unknown:
            message.done.set_exception(LitesupError(f"there is no slot {unknown[0]}; slots are 1 to {self._count}"))
            return
        numbers = frozenset(m.replica for m in self._members.values() if m.slot in slots and m.state in LIVE)
        self._replace |= numbers
        self._replacing.append((message.done, tuple(sorted(slots)), numbers))

    def _note_drain(self, slot: int, done: asyncio.Future[None], now: float) -> None:
        serving = [m for m in self._members.values() if m.slot == slot and m.state in LIVE]
        if not serving:
            done.set_exception(LitesupError(f"slot {slot} has no replica to drain; slots are 1 to {self._count}"))
            return
        for member in serving:
            self._leave(member, "drained by the operator")
        done.set_result(None)

    # Taking steps.

    def _act(self, action: rollout.Action, now: float) -> None:
        match action:
            case Spawn():
                self._spawn(action, now)
            case Leave(replica=replica, reason=reason):
                self._leave(self._members[replica], reason)
            case Kill(replica=replica, reason=reason):
                member = self._members[replica]
                member.happens(Happening.LEAVE)
                self._kill(member, reason)
            case PassTrial():
                assert self._trial is not None
                self._last_good = self._trial.generation
                self._trial = Trial(self._trial.generation, self._trial.previous, self._trial.canary, passed=True)
            case FailTrial(reason=reason):
                self._fail_trial(reason)

    def _spawn(self, action: Spawn, now: float) -> None:
        target = self._targets[action.generation]
        number, self._next_number = self._next_number, self._next_number + 1
        shell = self._make_replica(number, action.slot, target.generation, target.config_path, self._mailbox.put_nowait)
        self._members[number] = Member(shell=shell, generation=target.generation, reason=action.reason, spawned_at=now)
        if action.canary and self._trial is not None:
            self._trial = Trial(self._trial.generation, self._trial.previous, canary=number)
        assert self._group is not None
        self._group.create_task(self._tend(shell), name=f"replica {number}")

    async def _tend(self, shell: Replica) -> None:
        try:
            await shell.run()
        except Exception as error:  # a bug of ours in one shell must not take the others down
            self._mailbox.put_nowait(
                Exited(shell.spec.replica, None, f"internal error: {type(error).__name__}: {error}")
            )

    def _leave(self, member: Member, reason: str) -> None:
        """It goes: at once if it serves nothing, else when it has finished."""
        if not member.happens(Happening.LEAVE):
            return
        member.leaving = reason
        trial = self._trial
        if trial is not None and not trial.passed and trial.canary == member.replica:
            # Sent away (its slot drained, or scaled away), it has proved nothing: another one takes the test.
            self._trial = Trial(trial.generation, trial.previous)
        if member.state is State.DRAINING:
            self._rotation.drain(member.replica)
            self._events.publish(ev.ReplicaDraining(**member.named(), reason=reason))
            assert self._group is not None
            self._group.create_task(member.shell.drain(self._rotation.wait_idle(member.replica)))
        else:
            member.shell.stop()

    def _stop(self, member: Member, reason: str) -> None:
        """It goes without finishing: whoever calls this has drained already, or does not care to."""
        member.leaving = member.leaving or reason
        member.happens(Happening.LEAVE)
        if member.state is State.DRAINING:
            member.happens(Happening.DRAINED)
        self._rotation.remove(member.replica)
        member.shell.stop()

    def _kill(self, member: Member, reason: str) -> None:
        if not member.killed:
            member.killed = reason
            self._events.publish(ev.ReplicaKilled(**member.named(), reason=reason))
        member.shell.kill()

    def _fail_trial(self, reason: str) -> None:
        trial = self._trial
        assert trial is not None
        if self._lost_canary:
            reason = f"{reason}: {self._lost_canary}"
        self._failed[trial.generation] = reason
        while len(self._failed) > MOST_FAILED:
            del self._failed[next(iter(self._failed))]
        self._last_good = trial.previous
        self._wanted, self._wanted_reason, self._wanted_at = self._targets[trial.previous], "rolled back", time.time()
        self._trial, self._lost_canary, self._roll_started_at = None, "", None
        self._events.publish(ev.RolloutFailed(trial.generation, trial.previous, reason))
        self._settle_outcomes(ReloadOutcome(ReloadResult.ROLLED_BACK, trial.generation, (reason,)))

    def _finish(self, plan: Plan, now: float) -> None:
        """Tells those who wait for what has now come true, and forgets what nobody needs any more."""
        for entry in tuple(self._replacing):
            done, slots, numbers = entry
            gone = not any(number in numbers and m.state in LIVE for number, m in self._members.items())
            filled = {m.slot for m in self._members.values() if m.serving}
            if gone and filled.issuperset(slot for slot in slots if slot <= self._count):
                self._replacing.remove(entry)
                if not done.done():
                    done.set_result(slots)
        if not plan.settled or self._wanted is None:
            return
        digest = self._wanted.generation.digest
        self._last_good, self._trial = digest, None
        if self._roll_started_at is not None:
            self._events.publish(ev.RolloutCompleted(digest, now - self._roll_started_at))
            self._roll_started_at = None
            self._settle_outcomes(ReloadOutcome(ReloadResult.ROLLED, digest))
        running = {m.generation.digest for m in self._members.values()} | {digest}
        self._targets = {key: target for key, target in self._targets.items() if key in running}

    def _settle_outcomes(self, outcome: ReloadOutcome) -> None:
        outcomes, self._outcomes = self._outcomes, []
        for future in outcomes:
            if not future.done():
                future.set_result(outcome)

    def _abandon_futures(self) -> None:
        """Nobody shall wait for what cannot come true any more."""
        futures: list[asyncio.Future[Any]] = [*self._outcomes, *(done for done, _, _ in self._replacing)]
        while not self._mailbox.empty():
            match self._mailbox.get_nowait():
                case Want(outcome=future) | Replace(done=future) | DrainSlot(done=future):
                    futures.append(future)
        for future in futures:
            if not future.done():
                future.set_exception(LitesupError(STOPS))
                future.exception()  # not everybody who asked waits; an error that nobody reads is no news
