"""The owner of slots and replicas.

One mailbox, one reader. Something happens, the pool notes it, asks the planner what the next small step is, and takes
it. Nobody else changes a replica's state. What should happen is decided in `policy/`; here is how.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

from supervisor import events as ev
from supervisor.fleet.course import Course
from supervisor.fleet.launch.spec import Launcher
from supervisor.fleet.mailbox import STOPS, Mailbox, refuse
from supervisor.fleet.member import Member
from supervisor.fleet.messages import (
    Answered,
    Drained,
    DrainSlot,
    Exited,
    FleetRules,
    Launched,
    Message,
    Overstayed,
    Prepared,
    Probed,
    Recycle,
    Replace,
    Rule,
    Scale,
    StopAll,
    Unfit,
    Want,
    Warmed,
)
from supervisor.fleet.preparation import Preparation
from supervisor.fleet.replacements import Replacements
from supervisor.fleet.replica import Replica
from supervisor.fleet.slots import Slots
from supervisor.fleet.suspicion import Suspicion
from supervisor.litellm_config.generation import Generation
from supervisor.policy import recycling, rollout
from supervisor.policy.lifecycle import LIVE, Happening, IllegalTransition, State
from supervisor.policy.restart import due_at
from supervisor.policy.rollout import FailTrial, Kill, Leave, PassTrial, Plan, Spawn, World
from supervisor.rotation import Rotation

MakeReplica = Callable[[int, int, Generation, Path, Callable[[Message], None]], Replica]
"""Builds the shell of a replica from its number, its slot, its generation and where that is rendered."""

STEPS_AT_ONCE = 8
"""How often the planner is asked in a row: a verdict, what follows from it, and room; a bound, not a tuning."""


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
        launcher: Launcher | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._count = count
        self._rotation = rotation
        self._events = events
        self._suspicion = Suspicion(rotation, events, rules.health)
        self._make_replica = make_replica
        self._rules = rules
        self._clock = clock
        self.mailbox = Mailbox()
        self._members: dict[int, Member] = {}
        self.slots = Slots(jitter)
        self.course = Course(events)
        self._preparation = Preparation(launcher, self.mailbox.post)
        self._replacements = Replacements()
        self._next_number = 1
        self._stopping = False
        self._group: asyncio.TaskGroup | None = None

    def __repr__(self) -> str:
        states = ", ".join(f"{m.slot}:{m.state.value}" for m in self._members.values())
        return f"<Pool: {self._count} wanted, {states or 'none'}>"

    def kill(self, reason: str) -> None:
        """Ends every replica now."""
        for member in self._members.values():
            self._kill(member, ev.KillCause.TOLD, reason)

    # What others may see.

    @property
    def members(self) -> tuple[Member, ...]:
        return tuple(self._members.values())

    @property
    def count(self) -> int:
        return self._count

    @property
    def wanted(self) -> Generation | None:
        return self.course.wanted

    @property
    def ready(self) -> int:
        return sum(1 for member in self._members.values() if member.serving)

    @property
    def good(self) -> Generation | None:
        return self.course.good

    @property
    def in_force(self) -> bool:
        """Whether what is wanted serves everywhere."""
        return self.course.in_force and self.ready >= self._count

    @property
    def live_generations(self) -> frozenset[str]:
        """Digests that some replica runs, or may be started with, be it after a roll-back."""
        return self.course.generations | self._running

    @property
    def _running(self) -> frozenset[str]:
        return frozenset(member.generation.digest for member in self._members.values())

    def next_try(self, slot: int) -> float:
        """Seconds until an empty slot is filled again."""
        short = self.ready < self._count - 1
        due = due_at(self.slots.record(slot), short=short, rules=self._rules.planning.restart)
        return max(0.0, due - self._clock())

    # The one reader.

    async def run(self) -> None:
        """Runs until `stop` was asked and no replica is left. Cancelled, it kills them all."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                wake_at = self.step()
                while not (self._stopping and not self._members):
                    patience = None if wake_at == rollout.NEVER else max(0.0, wake_at - self._clock())
                    for message in await self.mailbox.take(patience):
                        self.note(message)
                    wake_at = self.step()
                self._preparation.stop()
        finally:
            self._group = None
            self.mailbox.close([*self.course.waiting(), *self._replacements.waiting()])

    def step(self) -> float:
        """Asks the planner and does what it says; returns when to ask again. Never waits."""
        if self.course.wanted is None or self._stopping:
            return rollout.NEVER
        for _ in range(STEPS_AT_ONCE):
            self._preparation.follow(self.course.launchable, self._group)
            now = self._clock()
            plan = rollout.plan(self._world(), now=now, rules=self._rules.planning)
            for action in plan.actions:
                self._act(action, now)
            if not plan.actions:
                self._finish(plan, now)
                return plan.wake_at
        return self._clock()

    def _world(self) -> World:
        course = self.course
        assert course.wanted is not None
        return World(
            count=self._count,
            generation=course.wanted.digest,
            replicas=[member.view for member in self._members.values()],
            slots=self.slots.records,
            trial=course.trial,
            replace=self._replacements.replicas,
            held=self._replacements.held,
            loading=self._preparation.loading(course.wanted.digest),
            unmigrated=course.unmigrated,
            unloadable=self._preparation.failure(course.wanted.digest),
        )

    # Noting what happened.

    def note(self, message: Message) -> None:
        """Takes one message into account. Never waits, and does nothing beyond what the message says."""
        now = self._clock()
        match message:
            case Replace(done=done) if self._stopping:
                refuse(done, STOPS)
            case Want():
                self._note_want(message, now)
            case Scale(count=count):
                self._count = count
            case Rule(rules=rules):
                self._rules, self._suspicion.rules = rules, rules.health
            case Prepared():
                self._preparation.note(message)
            case Replace():
                self._replacements.replace(message, self.members, self._count)
            case Recycle():
                self._note_recycle(message)
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
                        self._kill(about, ev.KillCause.INTERNAL, f"internal error: {error}")

    def _note_about(self, member: Member, message: Message, now: float) -> None:
        match message:
            case Launched(pid=pid):
                member.pid = pid
                self._events.publish(ev.ReplicaSpawned(**member.named(), pid=pid, reason=member.reason))
            case Answered():
                member.happens(Happening.ANSWERED)
            case Warmed(incomplete=incomplete):
                if incomplete is not None:
                    self._events.publish(ev.ReplicaWarmUpIncomplete(**member.named(), reason=incomplete))
                if member.happens(Happening.WARMED):
                    self._became_ready(member, now)
            case Unfit(why=why):
                self._kill(member, ev.KillCause.UNFIT, why)
            case Probed(missed=missed):
                self._note_probe(member, missed, now)
            case Drained():
                if member.happens(Happening.DRAINED):
                    self._rotation.remove(member.replica)
                    member.shell.stop()
            case Overstayed():
                self._kill(member, ev.KillCause.DID_NOT_END, "did not end in time after SIGTERM")
            case Exited():
                self._note_exit(member, message, now)
            case _:
                raise AssertionError(message)

    def _became_ready(self, member: Member, now: float) -> None:
        member.became_ready(now)
        self._rotation.add(member.upstream())
        self.course.served(member.generation.digest)
        assert member.pid is not None
        self._events.publish(ev.ReplicaReady(**member.named(), pid=member.pid, seconds=now - member.spawned_at))

    def _note_probe(self, member: Member, missed: str | None, now: float) -> None:
        if missed is None:
            self._suspicion.answered(member, now)
            return
        why = self._suspicion.missed(member, missed, now, members=self.members, wanted=self._count)
        if why is not None:
            self._kill(member, ev.KillCause.HUNG, why)

    def _note_exit(self, member: Member, message: Exited, now: float) -> None:
        del self._members[member.replica]
        self._replacements.exited(member.replica)
        self._rotation.remove(member.replica)
        view = member.view
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
        self.slots.ended(member, text)
        if member.expected or self.course.exited(view, text):
            return
        record = self.slots.fell(member, now, self._rules.planning.restart)
        if record.failures > 1:
            self._events.publish(ev.RestartDelayed(member.slot, self.next_try(member.slot), record.failures))

    def _note_want(self, message: Want, now: float) -> None:
        if self._stopping:
            refuse(message.outcome, STOPS)
        elif self.course.want(message, now) or message.again:
            self.slots.forgive()

    def _note_recycle(self, message: Recycle) -> None:
        busy = self._stopping or self.course.rolling or self._replacements.pending
        views = [member.view for member in self._members.values()]
        if recycling.is_the_moment(message.replica, views, count=self._count, busy=busy):
            member = self._members[message.replica]
            self._events.publish(ev.ReplicaRecycled(**member.named(), reason=message.reason, surge=message.surge))
            self._replacements.recycle(message, member)
            if not message.surge:
                self._leave(member, f"recycled: {message.reason}")

    def _note_drain(self, slot: int, done: asyncio.Future[None], now: float) -> None:
        serving = [m for m in self._members.values() if m.slot == slot and m.state in LIVE]
        if not serving:
            refuse(done, f"slot {slot} has no replica to drain; slots are 1 to {self._count}")
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
                self._kill(member, ev.KillCause.DID_NOT_START, reason)
            case PassTrial():
                self.course.passed()
            case FailTrial(reason=reason):
                self.course.gave_up(reason)

    def _spawn(self, action: Spawn, now: float) -> None:
        target = self.course.target(action.generation)
        number, self._next_number = self._next_number, self._next_number + 1
        what = target.generation if action.migrates else target.generation.without_migration()
        shell = self._make_replica(number, action.slot, what, target.config_path, self.mailbox.post)
        self._members[number] = Member.spawned(shell, target.generation, action, now)
        if action.canary:
            self.course.canary_is(number)
        assert self._group is not None
        self._group.create_task(self._tend(shell), name=f"replica {number}")

    async def _tend(self, shell: Replica) -> None:
        try:
            await shell.run()
        except Exception as error:  # a bug of ours in one shell must not take the others down
            self.mailbox.post(Exited(shell.spec.replica, None, f"internal error: {type(error).__name__}: {error}"))

    def _leave(self, member: Member, reason: str) -> None:
        """It goes: at once if it serves nothing, else when it has finished."""
        if not member.happens(Happening.LEAVE):
            return
        member.leaving = reason
        if self.course.is_canary(member.replica):
            self.course.canary_is(None)
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

    def _kill(self, member: Member, cause: ev.KillCause, reason: str) -> None:
        if not member.killed:
            member.killed = reason
            self._events.publish(ev.ReplicaKilled(**member.named(), cause=cause, reason=reason))
        member.shell.kill()

    def _finish(self, plan: Plan, now: float) -> None:
        """Tells those who wait for what has now come true, and forgets what nobody needs any more."""
        self._replacements.tell(self._members.values(), self._count)
        if plan.settled:
            self.course.arrived(self._running, now)
