"""A pool whose replicas are simulated: the real pool and the real planner, on a clock that a test turns.

Nothing runs. The simulation hands the pool messages as real replicas would send them, with delays and failures drawn
from a seeded generator, and looks at the promises after every step.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from supervisor import events as ev
from supervisor.control.operations import ReloadOutcome
from supervisor.fleet.launch.spec import ExitStatus, LaunchSpec
from supervisor.fleet.messages import (
    Answered,
    Drained,
    DrainSlot,
    Exited,
    Launched,
    Message,
    Probed,
    Replace,
    Scale,
    Want,
    Warmed,
)
from supervisor.fleet.pool import FleetRules, Pool
from supervisor.litellm_config.generation import Generation
from supervisor.policy.balancing import round_robin
from supervisor.policy.health import HealthRules
from supervisor.policy.lifecycle import LIVE, State
from supervisor.policy.queueing import QueueLimits
from supervisor.policy.restart import RestartRules
from supervisor.policy.rollout import Rules, plan
from supervisor.rotation import Rotation

RULES = Rules(settle=2.0, start_timeout=30.0, restart=RestartRules())
HEALTH = HealthRules(give_up_after=3, kill_after=15.0)


@dataclass(frozen=True)
class Behaviour:
    """How replicas of one generation behave: a chance for each trouble, and seconds to the first answer."""

    boot: tuple[float, float] = (0.2, 0.6)
    refuses: float = 0.0  # exits while starting
    dies_soon: float = 0.0  # exits within a second of being ready
    silent: float = 0.0  # never answers
    misses: float = 0.0  # misses a probe within a second of being ready

    @property
    def good(self) -> bool:
        return not (self.refuses or self.dies_soon or self.silent or self.misses)


GOOD = Behaviour()
REFUSES = Behaviour(refuses=1.0)
DIES_SOON = Behaviour(dies_soon=1.0)
SILENT = Behaviour(silent=1.0)
SHAKY = Behaviour(misses=1.0)
SLOW = Behaviour(boot=(5.0, 20.0))


def generation(name: str) -> Generation:
    return Generation(name, "", {}, SecretStr("sk-test"), Path("/nowhere/config.yaml"), (), ())


@dataclass
class FakeShell:
    """Stands where `fleet.replica.Replica` stands; what is asked of it becomes future happenings."""

    spec: LaunchSpec
    simulation: Simulation
    digest: str
    ended: bool = False
    stopped: bool = False

    async def run(self) -> None:
        raise AssertionError("nothing runs in a simulation")

    async def drain(self, idle: Any) -> None:
        raise AssertionError("nothing runs in a simulation")

    def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.simulation.later(0.1, lambda: self.simulation.exit(self, ExitStatus(None, 15)))

    def kill(self) -> None:
        self.simulation.later(0.01, lambda: self.simulation.exit(self, ExitStatus(None, 9)))


class NoGroup:
    """Takes the tasks that the pool would start, and starts none."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def create_task(self, coroutine: Coroutine[Any, Any, None], *, name: str = "") -> None:
        kind = coroutine.cr_code.co_name  # type: ignore[attr-defined]
        frame = coroutine.cr_frame.f_locals  # type: ignore[attr-defined]
        if kind == "drain":
            frame["idle"].close()
            self._simulation.drained_later(frame["self"])
        coroutine.close()


@dataclass(order=True)
class Due:
    at: float
    order: int
    happen: Callable[[], None] = field(compare=False)


class Simulation:
    """One history. `advance` plays it; every step is checked by `check`."""

    def __init__(self, seed: int, count: int = 3) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        self.loop = asyncio.new_event_loop()
        self.behaviours: dict[str, Behaviour] = {}
        self.shells: dict[int, FakeShell] = {}
        self.events = ev.Events()
        self.seen: list[ev.Event] = []
        self.events.subscribe(self.seen.append)
        self.rotation = Rotation(round_robin, QueueLimits(10, 1.0))
        self.drain_seconds = 1.0
        self.disturbed = False  # something beyond a roll-out took a replica away
        self._due: list[Due] = []
        self._order = 0
        self._wake_at = float("inf")
        self.first_of_want = 1
        self.pool = Pool(
            count,
            rotation=self.rotation,
            events=self.events,
            make_replica=self._make,  # type: ignore[arg-type]
            rules=FleetRules(RULES, HEALTH),
            clock=lambda: self.now,
            jitter=self.random.random,
        )
        self.pool._group = NoGroup(self)  # type: ignore[assignment]

    def close(self) -> None:
        self.loop.close()

    # What a history does.

    def want(self, name: str, behaviour: Behaviour = GOOD, *, again: bool = False) -> asyncio.Future[ReloadOutcome]:
        self.behaviours[name] = behaviour
        outcome: asyncio.Future[ReloadOutcome] = self.loop.create_future()
        self.first_of_want = self.pool._next_number
        self.tell(Want(generation(name), Path("/nowhere"), "test", outcome, again))
        return outcome

    def scale(self, count: int) -> None:
        self.tell(Scale(count))

    def replace(self, *slots: int) -> asyncio.Future[tuple[int, ...]]:
        done: asyncio.Future[tuple[int, ...]] = self.loop.create_future()
        self.tell(Replace(slots, done))
        return done

    def drain_slot(self, slot: int) -> asyncio.Future[None]:
        done: asyncio.Future[None] = self.loop.create_future()
        self.disturbed = True
        self.tell(DrainSlot(slot, done))
        return done

    def crash(self, replica: int) -> None:
        self.disturbed = True
        self.exit(self.shells[replica], ExitStatus(None, 9))

    def miss_probe(self, replica: int) -> None:
        self.tell(Probed(replica, "no answer"))

    def tell(self, message: Message) -> None:
        self.pool.note(message)
        self.step()

    def step(self) -> None:
        serving = self.serving
        wake_at = self.pool.step()
        self.check(serving)
        self._wake_at = wake_at

    def advance(self, seconds: float) -> None:
        """Plays everything that is due within that time."""
        until = self.now + seconds
        for _ in range(100_000):
            next_due = self._due[0].at if self._due else float("inf")
            if min(next_due, self._wake_at) > until:
                self.now = until
                return
            if self._wake_at < next_due:
                self.now = max(self.now, self._wake_at)
            else:
                due = heapq.heappop(self._due)
                self.now = max(self.now, due.at)
                due.happen()
            self.step()
        raise AssertionError("the history does not come to rest")

    # What replicas do.

    def later(self, delay: float, happen: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._due, Due(self.now + delay, self._order, happen))

    def drained_later(self, shell: FakeShell) -> None:
        self.later(self.drain_seconds, lambda: self.pool.note(Drained(shell.spec.replica)))

    def exit(self, shell: FakeShell, status: ExitStatus) -> None:
        if not shell.ended:
            shell.ended = True
            del self.shells[shell.spec.replica]
            self.pool.note(Exited(shell.spec.replica, status))
            self.step()

    def _make(self, number: int, slot: int, what: Generation, _path: Path, _post: object) -> FakeShell:
        spec = LaunchSpec(number, slot, (), {}, Path(f"/nowhere/{number}.sock"), Path("/nowhere"))
        shell = FakeShell(spec, self, what.digest)
        self.shells[number] = shell
        behaviour = self.behaviours[what.digest]
        boot = self.random.uniform(*behaviour.boot)
        draw = self.random.random
        self.later(0.01, self._unless_ended(shell, Launched(number, 10_000 + number)))
        if draw() < behaviour.refuses:
            self.later(boot, lambda: self.exit(shell, ExitStatus(3, None)))
        elif draw() >= behaviour.silent:
            self.later(boot, self._unless_ended(shell, Answered(number)))
            self.later(boot + 0.01, self._unless_ended(shell, Warmed(number, None)))
            if draw() < behaviour.dies_soon:
                self.later(boot + 0.01 + draw(), lambda: self.exit(shell, ExitStatus(1, None)))
            elif draw() < behaviour.misses:
                self.later(boot + 0.01 + draw(), self._unless_ended(shell, Probed(number, "no answer")))
        return shell

    def _unless_ended(self, shell: FakeShell, message: Message) -> Callable[[], None]:
        return lambda: None if shell.ended else self.pool.note(message)

    # What must hold.

    @property
    def serving(self) -> set[int]:
        return {member.replica for member in self.pool.members if member.serving}

    @property
    def live(self) -> list[int]:
        return [member.replica for member in self.pool.members if member.state in LIVE]

    def of(self, name: str) -> set[int]:
        return {m.replica for m in self.pool.members if m.generation.digest == name and m.state in LIVE}

    def check(self, serving_before: set[int]) -> None:
        pool = self.pool
        assert len(self.live) <= pool.count + 1, "surge is 1"
        in_rotation = {upstream.replica for upstream in self.rotation if not upstream.leaving}
        assert in_rotation == self.serving, "in rotation is exactly what serves"
        trial = pool.course.trial
        if trial is not None and not trial.passed:
            new = {replica for replica in self.of(trial.generation) if replica >= self.first_of_want}
            assert len(new) <= 1, "one canary until it passed"
        taken = serving_before - self.serving
        if taken:
            present = {member.replica: member for member in pool.members}
            for replica in taken & present.keys():
                member = present[replica]
                others = {m.slot for m in pool.members if m.serving}
                allowed = member.slot > pool.count or member.slot in others or self.disturbed
                assert allowed, f"unavailable is 0: {member.state.value} {member.leaving}"
        again = plan(pool._world(), now=self.now, rules=RULES) if pool.wanted is not None else None
        assert again is None or not again.actions, "asked twice, it answers nothing"
        slots = [m.slot for m in pool.members if m.state is State.READY]
        assert all(slots.count(slot) <= 2 for slot in slots)
