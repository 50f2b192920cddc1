"""A pool whose replicas are simulated: the real pool and the real planner, on a clock that a test turns.

Nothing runs. The simulation hands the pool messages as real replicas would send them, with delays and failures drawn
from a seeded generator, and has the promises looked at after every step (tests/fleet/promises.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import SecretStr

from supervisor import events as ev
from supervisor.control.operations import ReloadOutcome
from supervisor.fleet.launch.spec import ExitStatus, Launcher, LaunchSpec
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
    Scale,
    StopAll,
    Target,
    Unfit,
    Want,
    Warmed,
)
from supervisor.fleet.pool import Pool
from supervisor.litellm_config.generation import Generation
from supervisor.policy.balancing import round_robin
from supervisor.policy.health import HealthRules
from supervisor.policy.lifecycle import LIVE
from supervisor.policy.queueing import QueueLimits
from supervisor.policy.restart import RestartRules
from supervisor.policy.rollout import Rules
from supervisor.rotation import Rotation
from tests.fleet.promises import Promises

NOWHERE = Path("/nowhere")
RULES = Rules(settle=2.0, start_timeout=30.0, restart=RestartRules())
HEALTH = HealthRules(give_up_after=3, kill_after=15.0)


@dataclass(frozen=True)
class Behaviour:
    """How replicas of one generation behave: a chance for each trouble, and seconds to the first answer."""

    boot: tuple[float, float] = (0.2, 0.6)
    refuses: float = 0.0  # exits while starting
    dies_soon: float = 0.0  # exits within a second of being ready
    silent: float = 0.0  # never answers
    unfit: float = 0.0  # answers, and may not serve; looked for in a canary only
    misses: float = 0.0  # misses a probe within a second of being ready

    @property
    def good(self) -> bool:
        troubled = self.refuses or self.dies_soon or self.silent or self.misses or self.unfit
        return not troubled and self.boot[1] < RULES.start_timeout


GOOD = Behaviour()
REFUSES = Behaviour(refuses=1.0)
DIES_SOON = Behaviour(dies_soon=1.0)
SILENT = Behaviour(silent=1.0)
SHAKY = Behaviour(misses=1.0)
SLOW = Behaviour(boot=(5.0, 20.0))
UNFIT = Behaviour(unfit=1.0)
TOO_SLOW = Behaviour(boot=(31.0, 50.0))  # past RULES.start_timeout
FLAKY = Behaviour(boot=(0.2, 35.0), refuses=0.2, dies_soon=0.2, silent=0.1, misses=0.1)


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
            if self.simulation.random.random() < self.simulation.stubborn:
                self.simulation.later(30.0, self.simulation.unless_ended(self, Overstayed(self.replica)))
            else:
                self.simulation.later(0.1, lambda: self.simulation.exit(self, ExitStatus(None, 15)))

    def kill(self) -> None:
        self.simulation.later(0.01, lambda: self.simulation.exit(self, ExitStatus(None, 9)))

    @property
    def replica(self) -> int:
        return self.spec.replica


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
        elif kind == "_prepare" and frame["wanted"] is not None:
            self._simulation.loaded_later(frame["wanted"].digest)
        coroutine.close()


@dataclass(order=True)
class Due:
    at: float
    order: int
    happen: Callable[[], None] = field(compare=False)


class Simulation:
    """One history. `advance` plays it; the promises are looked at after every step."""

    def __init__(self, seed: int, count: int = 3, *, loads: bool = False) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        self.loop = asyncio.new_event_loop()
        self.behaviours: dict[str, Behaviour] = {}  # by digest; a stranger is good
        self.shells: dict[int, FakeShell] = {}
        self.events = ev.Events()
        self.seen: list[ev.Event] = []
        self.events.subscribe(self.seen.append)
        self.rotation = Rotation(round_robin, QueueLimits(10, 1.0))
        self.drain_seconds = 1.0
        self.launches_fail_until = 0.0  # as when the fork server is lost
        self.loading_fails = 0.0  # chance that LiteLLM cannot be loaded for a new generation
        self.stubborn = 0.0  # chance that a replica does not end when it is asked to
        self.asked: list[asyncio.Future[Any]] = []  # who waits for an answer
        self._due: list[Due] = []
        self._order = 0
        self._wake_at = float("inf")
        self.batching = False
        self.pool = Pool(
            count,
            rotation=self.rotation,
            events=self.events,
            make_replica=self._make,  # type: ignore[arg-type]
            rules=FleetRules(RULES, HEALTH),
            launcher=cast("Launcher", object()) if loads else None,  # nothing is ever asked of it
            clock=lambda: self.now,
            jitter=self.random.random,
        )
        self.pool._group = NoGroup(self)  # type: ignore[assignment]
        self.promises = Promises(self)

    def close(self) -> None:
        self.loop.close()

    # What a history does.

    def want(
        self, name: str, behaviour: Behaviour = GOOD, *, again: bool = False, fallback: str = ""
    ) -> asyncio.Future[ReloadOutcome]:
        self.behaviours[name] = behaviour
        behind = Target(generation(fallback), NOWHERE) if fallback else None
        self.behaviours.setdefault(fallback, GOOD)
        outcome: asyncio.Future[ReloadOutcome] = self.loop.create_future()
        self.tell(Want(generation(name), NOWHERE, "test", outcome, again, behind))
        return outcome

    def scale(self, count: int) -> None:
        self.tell(Scale(count))

    def replace(self, *slots: int) -> asyncio.Future[tuple[int, ...]]:
        done: asyncio.Future[tuple[int, ...]] = self.loop.create_future()
        self.tell(Replace(slots, done))
        return done

    def recycle(self, replica: int, *, surge: bool = True) -> None:
        if not surge:
            self.promises.excuse(next(m.slot for m in self.pool.members if m.replica == replica))
        self.tell(Recycle(replica, "worn out", surge))

    def drain_slot(self, slot: int) -> asyncio.Future[None]:
        done: asyncio.Future[None] = self.loop.create_future()
        self.promises.excuse(slot)
        self.tell(DrainSlot(slot, done))
        return done

    def crash(self, replica: int) -> None:
        self.exit(self.shells[replica], ExitStatus(None, 9))

    def hang(self, replica: int, seconds: float) -> None:
        """From now on no probe is answered, for so long."""
        shell = self.shells[replica]
        self.promises.hangs(replica)
        self._probed(shell, None)
        for number in range(1, int(seconds / 2.0) + 1):
            self.later(2.0 * number, lambda: self._probed(shell, "no answer"))
        self.later(seconds, lambda: self._probed(shell, None))

    def miss_probe(self, replica: int) -> None:
        self.promises.hangs(replica)
        self.tell(Probed(replica, "no answer"))

    def stop(self) -> None:
        """The daemon ends, as `Pool.run` sees to it."""
        self.promises.stopping = True
        self.tell(StopAll())

    def tell(self, message: Message) -> None:
        match message:
            case Want(outcome=future) | Replace(done=future) | DrainSlot(done=future):
                self.asked.append(future)
        if isinstance(message, Want):
            self.promises.told(message)
        self.pool.note(message)
        self.step()

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """What happens inside the block is in the mailbox together: the pool takes it all before its next step."""
        self.batching = True
        try:
            yield
        finally:
            self.batching = False
        self.step()

    def step(self) -> None:
        if not self.batching:
            self.promises.before_step()
            self._wake_at = self.pool.step()
            self.promises.check()

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
                self.step()
                continue
            self.now = max(self.now, next_due)
            with self.at_once():  # what happens in the same moment
                while self._due and self._due[0].at <= self.now:
                    heapq.heappop(self._due).happen()
        raise AssertionError("the history does not come to rest")

    # What replicas do.

    def later(self, delay: float, happen: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._due, Due(self.now + delay, self._order, happen))

    def loaded_later(self, digest: str) -> None:
        """LiteLLM is loaded for what is new, which takes seconds where the environment changed."""
        seconds = self.random.choice([0.0, 0.0, self.random.uniform(2.0, 8.0)])
        error = "no memory" if self.random.random() < self.loading_fails else ""
        self.later(seconds, lambda: self.pool.note(Prepared(digest, error)))

    def drained_later(self, shell: FakeShell) -> None:
        self.later(self.drain_seconds, lambda: self.pool.note(Drained(shell.spec.replica)))

    def exit(self, shell: FakeShell, status: ExitStatus | None, error: str = "") -> None:
        if not shell.ended:
            shell.ended = True
            del self.shells[shell.replica]
            self.promises.excuse_exit(shell.replica)
            self.pool.note(Exited(shell.replica, status, error))
            self.step()

    def _make(self, number: int, slot: int, what: Generation, path: Path, _post: object) -> FakeShell:
        assert path == NOWHERE or path.is_file(), f"what it is to run is not on disk: {path}"
        spec = LaunchSpec(number, slot, (), {}, Path(f"/nowhere/{number}.sock"), Path("/nowhere"))
        shell = FakeShell(spec, self, what.digest)
        self.shells[number] = shell
        self.promises.spawns(shell)
        behaviour = self.behaviours.get(what.digest, GOOD)
        boot = self.random.uniform(*behaviour.boot)
        draw = self.random.random
        if self.now < self.launches_fail_until:
            error = self.random.choice(["the fork server is gone", ""])
            self.later(0.05 + 0.2 * draw(), lambda: self.exit(shell, None, error))
            return shell
        self.later(0.01, self.unless_ended(shell, Launched(number, 10_000 + number)))
        if draw() < behaviour.refuses:
            self.later(boot, lambda: self.exit(shell, ExitStatus(3, None)))
        elif draw() >= behaviour.silent:
            self.later(boot, self.unless_ended(shell, Answered(number)))
            on_trial = self.pool.course.is_on_trial(what.digest)
            warm = Unfit(number, "no such model") if on_trial and draw() < behaviour.unfit else Warmed(number, None)
            self.later(boot + 0.01, self.unless_ended(shell, warm))
            if draw() < behaviour.dies_soon:
                self.later(boot + 0.01 + draw(), lambda: self.exit(shell, ExitStatus(1, None)))
            elif draw() < behaviour.misses:
                self.later(boot + 0.01 + draw(), self.unless_ended(shell, Probed(number, "no answer")))
        return shell

    def unless_ended(self, shell: FakeShell, message: Message) -> Callable[[], None]:
        return lambda: None if shell.ended else self.pool.note(message)

    def _probed(self, shell: FakeShell, missed: str | None) -> None:
        member = next((each for each in self.pool.members if each.replica == shell.replica), None)
        if member is not None and member.ready_since is not None:  # whoever never answered is not probed
            self.pool.note(Probed(shell.replica, missed))

    # What is so.

    @property
    def serving(self) -> set[int]:
        return {member.replica for member in self.pool.members if member.serving}

    @property
    def live(self) -> list[int]:
        return [member.replica for member in self.pool.members if member.state in LIVE]

    def of(self, name: str) -> set[int]:
        return {m.replica for m in self.pool.members if m.generation.digest == name and m.state in LIVE}


def names(simulation: Simulation) -> list[str]:
    """What was told, in order."""
    return [type(event).__name__ for event in simulation.seen]
