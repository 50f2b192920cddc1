"""Whether something grows: a line through the measurements that a few odd ones do not bend, and what it may rise. Pure.

The line is Theil's and Sen's: the median of the slopes between all pairs. Up to 29 % of them may be anything.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

MOST_POINTS = 400
"""More are thinned out: the slopes are as many as the square of this."""

Point = tuple[float, float]
"""Seconds, and a value."""


def slope(points: Sequence[Point]) -> float:
    """Per second; 0 where there are too few to tell."""
    thinned = points[:: max(1, -(-len(points) // MOST_POINTS))]
    slopes = [
        (there[1] - here[1]) / (there[0] - here[0])
        for number, here in enumerate(thinned)
        for there in thinned[number + 1 :]
        if there[0] > here[0]
    ]
    return statistics.median(slopes) if slopes else 0.0


@dataclass(frozen=True, slots=True)
class Trend:
    """How one thing developed over the span that counts, by the line, and what is allowed."""

    name: str
    points: int
    seconds: float
    median: float
    rise: float  # from the first of these seconds to the last
    allowed: float

    @property
    def grows(self) -> bool:
        return self.rise > self.allowed

    @property
    def per_hour(self) -> float:
        return self.rise / self.seconds * 3600 if self.seconds else 0.0


def trend(name: str, points: Sequence[Point], *, allowed: float) -> Trend:
    """Of all these points; whoever asks leaves out the warm-up."""
    if not points:
        return Trend(name, 0, 0.0, 0.0, 0.0, allowed)
    seconds = points[-1][0] - points[0][0]
    median = statistics.median(value for _, value in points)
    return Trend(name, len(points), seconds, median, slope(points) * seconds, allowed)


def later_half(points: Sequence[Point], *, until: float) -> list[Point]:
    """What was measured in the second half of a soak of that many seconds."""
    return [point for point in points if point[0] >= until / 2]
