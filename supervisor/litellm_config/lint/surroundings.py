"""What a rule may know beyond the document: the settings that matter to it, LiteLLM's price map, and the machine.

A value, so that a rule stays a function of what it is given. Who looks (`litesup check`) fills it in; a daemon that
reads its configuration does not look, and the rules about these things are silent there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from supervisor.litellm_config.prices import Prices


@dataclass(frozen=True, slots=True)
class Memory:
    """What replicas may use. `source` reads before the amount: "the machine has". `forked`: how they are started."""

    bytes: int
    source: str
    forked: bool


@dataclass(frozen=True, slots=True)
class Occupied:
    """A port that cannot be listened on: the setting that names it, and why, with what to do."""

    setting: str
    reason: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """None, or nothing, stands for: not looked at. A rule says nothing about what nobody has looked at."""

    replicas: int | None = None
    prices: Prices | None = None
    occupied: tuple[Occupied, ...] = ()
    memory: Memory | None = None
    python_optimised: bool | None = None
    uncompiled: Path | None = None  # the directory of a LiteLLM that has no bytecode


NOT_LOOKED_AT = Surroundings()
