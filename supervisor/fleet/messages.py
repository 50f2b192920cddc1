"""What the pool's mailbox takes: from replicas, what happened to them; from the operator's side, what is wanted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from supervisor.control.operations import ReloadOutcome
from supervisor.fleet.launch.spec import ExitStatus
from supervisor.litellm_config.generation import Generation
from supervisor.policy.health import HealthRules
from supervisor.policy.rollout import Rules


@dataclass(frozen=True, slots=True)
class Launched:
    replica: int
    pid: int


@dataclass(frozen=True, slots=True)
class Answered:
    replica: int


@dataclass(frozen=True, slots=True)
class Warmed:
    """`incomplete` says why the warm-up did not do all its work, or is None."""

    replica: int
    incomplete: str | None


@dataclass(frozen=True, slots=True)
class Unfit:
    """It answers, and yet must not serve."""

    replica: int
    why: str


@dataclass(frozen=True, slots=True)
class Probed:
    replica: int
    missed: str | None  # why there was no answer, or None


@dataclass(frozen=True, slots=True)
class Drained:
    replica: int


@dataclass(frozen=True, slots=True)
class Overstayed:
    """It was told to end and still runs after the time that it has for that."""

    replica: int


@dataclass(frozen=True, slots=True)
class Exited:
    """The process is gone, or could not be launched (`status` is None and `error` says why)."""

    replica: int
    status: ExitStatus | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Replicas of this generation can be launched without waiting; or not at all, and `error` says why."""

    generation: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A generation that may be wanted, and where it is rendered."""

    generation: Generation
    config_path: Path


@dataclass(frozen=True, slots=True)
class Want:
    generation: Generation
    config_path: Path
    reason: str
    outcome: asyncio.Future[ReloadOutcome]
    again: bool  # told to: also a generation that failed before
    fallback: Target | None = None  # at the start: what to go back to if nothing of it ever stands


@dataclass(frozen=True, slots=True)
class Scale:
    count: int


@dataclass(frozen=True, slots=True)
class FleetRules:
    """What the pool decides by."""

    planning: Rules
    health: HealthRules


@dataclass(frozen=True, slots=True)
class Rule:
    """What to go by from now on."""

    rules: FleetRules


@dataclass(frozen=True, slots=True)
class Replace:
    slots: tuple[int, ...]
    done: asyncio.Future[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Recycle:
    """Exchange a replica that is worn out, if nothing else is under way; else it is asked for again.

    Without `surge` there is no room for two, so it has to be gone before its replacement is started.
    """

    replica: int
    reason: str
    surge: bool


@dataclass(frozen=True, slots=True)
class DrainSlot:
    slot: int
    done: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class StopAll:
    pass


Message = (
    Launched
    | Answered
    | Warmed
    | Unfit
    | Probed
    | Drained
    | Overstayed
    | Exited
    | Prepared
    | Want
    | Scale
    | Rule
    | Replace
    | Recycle
    | DrainSlot
    | StopAll
)
