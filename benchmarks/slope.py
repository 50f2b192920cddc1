"""Whether something grows evenly: how much each step adds, and the step that adds far more than the others.

Values only.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.question import NotMeasured

TIMES = 2.0
"""What a step may add per unit, as a multiple of what the middle one of all steps adds."""


@dataclass(frozen=True, slots=True)
class Point:
    """So much of something at this size."""

    size: float
    value: float


@dataclass(frozen=True, slots=True)
class Knee:
    """Between two sizes each further one costs `slope`, where it usually costs `usual`."""

    since: float
    until: float
    slope: float
    usual: float


def slopes(points: Sequence[Point]) -> list[float]:
    """Per unit of size, between successive points. Raises NotMeasured for fewer than three: two lie on any line."""
    if len(points) < 3:
        raise NotMeasured(f"{len(points)} sizes tell nothing about growth")
    return [(after.value - before.value) / (after.size - before.size) for before, after in _pairs(points)]


def knee(points: Sequence[Point], noise: float) -> Knee | None:
    """The worst step that is steeper than TIMES the usual one, if it stands out from `noise` (in the value's unit)."""
    found = slopes(points)
    usual = max(statistics.median(found), 0.0)
    worst, excess = None, 0.0
    for slope, (before, after) in zip(found, _pairs(points), strict=True):
        more = (slope - TIMES * usual) * (after.size - before.size)
        if more > max(noise, excess):
            worst, excess = Knee(before.size, after.size, slope, usual), more
    return worst


def _pairs(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    return list(itertools.pairwise(points))
