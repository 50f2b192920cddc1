"""The planner: given what is wanted and what exists, what is the next small step?

Pure and level-triggered: it looks at the whole world each time and asked again about an unchanged one, after its
answer was carried out, it answers "nothing". First start, crash, roll-out, roll-back, restart and scale are this one
function with other inputs.

The rules: surge 1, unavailable 0. A slot gets its replacement before it loses its replica; one slot at a time. The
first replica of a generation that has never served is the canary; until it has stood for `settle` seconds, whatever
falls down comes back on the generation that was last good. It is not spawned while LiteLLM is still being loaded for
it: until then nothing of the roll-out happens, and its start deadline does not run. A canary that exits, misses a probe
or never answers ends the trial. What is draining holds up nothing. With a database, the first replica of a generation
brings its schema up to date, alone: no other replica of that generation is started until it has answered. Each answer
costs time in proportion to the number of replicas.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from supervisor.policy.lifecycle import LIVE, SERVING, State
from supervisor.policy.restart import RestartRules, SlotRecord, due_at

TRIAL_FAILURES = 3
"""Exits while starting, after the canary stood, that end a roll-out: one may be bad luck, three are the generation."""


MIGRATION_PATIENCE = 10
"""Times the start timeout: a schema that is changed half-way is worse than a slow start."""


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """What the planner may know of a replica. Moments are monotonic seconds."""

    replica: int
    slot: int
    generation: str
    state: State
    spawned_at: float
    ready_since: float | None = None
    doubted: bool = False  # it missed a probe since it became ready
    migrates: bool = False  # it may change the database's schema before it is ready


@dataclass(frozen=True, slots=True)
class Trial:
    """A roll-out to a generation that has never served everywhere.

    `canary` is the replica on trial, None before it is spawned: a canary that is not there any more has exited.
    `previous` is what to go back to. A `first` trial is the start of a daemon that knows a last good generation:
    nothing serves yet, so all slots take part in it.
    """

    generation: str
    previous: str
    canary: int | None = None
    passed: bool = False
    failures: int = 0
    first: bool = False


@dataclass(frozen=True, slots=True)
class World:
    """What is wanted, and what exists. `replace` are replicas to be exchanged for new ones of the same generation."""

    count: int
    generation: str
    replicas: Sequence[ReplicaView]
    slots: Mapping[int, SlotRecord]
    trial: Trial | None = None
    replace: frozenset[int] = frozenset()
    held: frozenset[int] = frozenset()  # slots whose replica has to be gone before another may fill them
    loading: bool = False  # LiteLLM is being loaded for the generation; until then none of it can be launched
    unloadable: str = ""  # why that cannot be done
    unmigrated: bool = False  # the database's schema is not known to be this generation's yet


@dataclass(frozen=True, slots=True)
class Rules:
    """Seconds."""

    settle: float
    start_timeout: float
    restart: RestartRules


@dataclass(frozen=True, slots=True)
class Spawn:
    slot: int
    generation: str
    reason: str
    canary: bool = False
    migrates: bool = False  # it is the one that brings the database's schema up to date


@dataclass(frozen=True, slots=True)
class Leave:
    """Tell a replica to finish what it holds and go."""

    replica: int
    reason: str


@dataclass(frozen=True, slots=True)
class Kill:
    replica: int
    reason: str


@dataclass(frozen=True, slots=True)
class PassTrial:
    """The canary stood: the generation is good."""


@dataclass(frozen=True, slots=True)
class FailTrial:
    """The generation is given up; the previous one is wanted again."""

    reason: str


Action = Spawn | Leave | Kill | PassTrial | FailTrial


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and when to ask again if nothing happens before. `settled` says that nothing is left to do."""

    actions: tuple[Action, ...]
    wake_at: float
    settled: bool


NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class _Sight:
    """The world looked through once, so that a plan for a thousand replicas costs no more than a few passes over them.

    `live` is what fills each slot; a slot that nothing fills is missing. `canary` is the replica on trial, if any,
    `base` the generation that fills empty slots, `serving` how many replicas serve, `migrating` whether some replica
    may be changing the schema.
    """

    world: World
    live: Mapping[int, Sequence[ReplicaView]]
    doubled: Sequence[int]  # wanted slots that more than one replica fills
    starting: Sequence[ReplicaView]
    serving: int
    migrating: bool
    canary: int | None
    base: str


def plan(world: World, *, now: float, rules: Rules) -> Plan:
    """The next small step. A verdict on the trial comes alone: what follows from it is asked for anew."""
    verdict, trial_wake = _judge_trial(world, now, rules)
    if verdict is not None:
        return Plan((verdict,), now, settled=False)
    sight = _look(world)
    overdue, start_wake = _overdue(sight, now, rules)
    spawns, spawn_wake = _missing(sight, now, rules)
    surge = () if spawns else _surge(sight)
    actions = (*overdue, *_surplus(sight), *_superfluous(sight), *spawns, *surge)
    settled = not actions and spawn_wake == NEVER and _is_settled(sight)
    return Plan(actions, min(trial_wake, start_wake, spawn_wake), settled)


def _judge_trial(world: World, now: float, rules: Rules) -> tuple[Action | None, float]:
    trial = world.trial
    if trial is None:
        return None, NEVER
    if trial.passed or trial.first:
        if trial.failures >= TRIAL_FAILURES:
            what = "ended or did not answer" if trial.first else "exited while starting"
            return FailTrial(f"{trial.failures} replicas {what}"), NEVER
        return (None, NEVER) if trial.passed else _judge_first(world, now, rules)
    if trial.canary is None:
        if world.unloadable:
            return FailTrial(f"LiteLLM could not be loaded for it: {world.unloadable}"), NEVER
        return None, NEVER
    canary = next((view for view in world.replicas if view.replica == trial.canary), None)
    if canary is None:
        return FailTrial("its first replica exited"), NEVER
    if canary.doubted:
        return FailTrial("its first replica missed a probe"), NEVER
    if canary.ready_since is None:
        patience = _start_timeout(canary, rules)
        if now >= canary.spawned_at + patience:
            return FailTrial(f"its first replica did not answer within {patience:g} s"), NEVER
        return None, canary.spawned_at + patience
    if now >= canary.ready_since + rules.settle:
        return PassTrial(), NEVER
    return None, canary.ready_since + rules.settle


def _judge_first(world: World, now: float, rules: Rules) -> tuple[Action | None, float]:
    """It passes when one replica has stood: what comes later is that replica's own trouble."""
    standing = [v.ready_since for v in world.replicas if v.generation == world.generation and v.ready_since is not None]
    if not standing:
        return None, NEVER
    due = min(standing) + rules.settle
    return (PassTrial(), NEVER) if now >= due else (None, due)


def _look(world: World) -> _Sight:
    live: dict[int, list[ReplicaView]] = {}
    starting: list[ReplicaView] = []
    serving = 0
    migrating = False
    for view in world.replicas:
        migrating = migrating or (view.migrates and view.ready_since is None)
        if view.state in LIVE:
            live.setdefault(view.slot, []).append(view)
            if view.state in SERVING:
                serving += 1
            else:
                starting.append(view)
    trial = world.trial
    if trial is not None and (trial.passed or trial.first):
        trial = None  # there is no canary, and nothing else to fill empty slots with
    return _Sight(
        world,
        live,
        doubled=sorted(slot for slot, views in live.items() if len(views) > 1 and slot <= world.count),
        starting=starting,
        serving=serving,
        migrating=migrating,
        canary=None if trial is None else trial.canary,
        base=world.generation if trial is None else trial.previous,
    )


def _overdue(sight: _Sight, now: float, rules: Rules) -> tuple[tuple[Action, ...], float]:
    kills: list[Action] = []
    wake = NEVER
    for view in sight.starting:
        patience = _start_timeout(view, rules)
        if now >= view.spawned_at + patience:
            kills.append(Kill(view.replica, f"did not answer within {patience:g} s"))
        else:
            wake = min(wake, view.spawned_at + patience)
    return tuple(kills), wake


def _start_timeout(view: ReplicaView, rules: Rules) -> float:
    return rules.start_timeout * (MIGRATION_PATIENCE if view.migrates else 1)


def _may_spawn(sight: _Sight, generation: str) -> bool:
    """Never two at once that change the schema, and none of the generation beside the one that does."""
    return generation != sight.world.generation or not sight.world.unmigrated or not sight.migrating


def _is_right(view: ReplicaView, world: World) -> bool:
    return view.generation == world.generation and view.replica not in world.replace


def _missing(sight: _Sight, now: float, rules: Rules) -> tuple[tuple[Action, ...], float]:
    """Spawns for slots that nothing fills, as soon as their backoff allows. A canary alone fills no slot."""
    world = sight.world
    if not _may_spawn(sight, sight.base):
        return (), NEVER
    alone = world.unmigrated and sight.base == world.generation
    short = sight.serving < world.count - 1
    spawns: list[Action] = []
    wake = NEVER
    for slot in range(1, world.count + 1):
        filling = sight.live.get(slot)
        if slot in world.held:
            continue
        if filling and (len(filling) > 1 or filling[0].replica != sight.canary):
            continue
        record = world.slots.get(slot, SlotRecord())
        due = due_at(record, short=short, rules=rules.restart)
        if now < due:
            wake = min(wake, due)
        elif not (alone and spawns):
            reason = "start" if record == SlotRecord() else "replace what exited"
            spawns.append(Spawn(slot, sight.base, reason, migrates=alone))
    return tuple(spawns), wake


def _surplus(sight: _Sight) -> tuple[Action, ...]:
    """Leaves for slots that are not wanted any more: at once, unless it would make fewer serve than are wanted."""
    world, live = sight.world, sight.live
    surplus = [view for slot in sorted(slot for slot in live if slot > world.count) for view in live[slot]]
    if not surplus:
        return ()
    served = sum(1 for slot in range(1, world.count + 1) if any(view.state in SERVING for view in live.get(slot, ())))
    serving = [view.replica for view in surplus if view.state in SERVING and view.replica != sight.canary]
    needed = frozenset(serving[: world.count - served])
    return tuple(Leave(view.replica, "scaled down") for view in surplus if view.replica not in needed)


def _superfluous(sight: _Sight) -> tuple[Action, ...]:
    """Leaves for what its slot does not need any more; whoever fills a slot alone stays."""
    leaves: dict[int, Leave] = {}

    def leave(views: Iterable[ReplicaView], reason: str) -> None:
        for view in views:
            leaves.setdefault(view.replica, Leave(view.replica, reason))

    for slot in sight.doubled:
        candidates = [view for view in sight.live[slot] if view.replica != sight.canary]
        settled = [
            view for view in candidates if view.generation == sight.base and view.replica not in sight.world.replace
        ]
        ready = [view for view in settled if view.state in SERVING]
        others = [view for view in candidates if view not in settled]
        if ready:
            keep = min(ready, key=lambda view: view.replica)
            leave((view for view in settled if view is not keep), "superfluous")
            leave(others, "replaced")
        else:
            # A half-started replica of a generation that nobody wants any more only stands in the way.
            stale = [view for view in others if view.state not in SERVING]
            serving = [view for view in others if view.state in SERVING]
            if serving or settled:
                leave(stale, "superseded")
            leave(settled[1:], "superfluous")
            leave(serving[1:], "superseded")
    return tuple(leaves.values())


def _surge(sight: _Sight) -> tuple[Action, ...]:
    """The one replacement that may be started now, while no slot is filled twice.

    A slot that waits for its backoff counts as filled: what fills it comes on top of the surge.
    """
    world = sight.world
    if sight.doubled:
        return ()
    trial = world.trial
    if trial is not None and not trial.passed and not trial.first:
        if trial.canary is not None or world.loading or not _may_spawn(sight, trial.generation):
            return ()
        serving = [view.slot for view in world.replicas if view.state in SERVING and view.slot <= world.count]
        slot = min(serving, default=1)
        return (Spawn(slot, trial.generation, "canary", canary=True, migrates=world.unmigrated),)
    if any(_is_right(view, world) for view in sight.starting) or not _may_spawn(sight, world.generation):
        return ()  # one at a time, also counting what fills a hole
    for slot in range(1, world.count + 1):
        filling = sight.live.get(slot)
        if filling and not _is_right(filling[0], world):
            reason = "restart" if filling[0].generation == world.generation else "roll-out"
            return (Spawn(slot, world.generation, reason, migrates=world.unmigrated),)
    return ()


def _is_settled(sight: _Sight) -> bool:
    world = sight.world
    if sight.doubled or sight.starting or (world.trial is not None and not world.trial.passed):
        return False
    for slot in range(1, world.count + 1):
        filling = sight.live.get(slot)
        if not filling or not _is_right(filling[0], world):
            return False
    return True


def after_exit(trial: Trial | None, view: ReplicaView, *, expected: bool) -> Trial | None:
    """The trial after a replica ended: an exit while starting counts against the generation, in a first trial any."""
    if trial is None or expected or view.generation != trial.generation:
        return trial
    counts = trial.first or (trial.passed and view.ready_since is None)
    if not counts:
        return trial
    return dataclasses.replace(trial, failures=trial.failures + 1)
