"""What a benchmark is: a question, the sides that are measured for it in turns, and the goals that it has to meet.

A module `benchmarks/NAME.py` has one of these as `QUESTION` and ends with `run(QUESTION)`; `questions.py` knows it by
its name. Values only: who measures, keeps and prints is elsewhere, and what is said about the figures is computed from
the runs each time.
"""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

OURS = "litesup"
_SPELT = {"us": "µs", "x": "×"}


class NotMeasured(LookupError):
    """There is no such figure among the runs, because its side could not take part, or the run was cut short."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that a run measures. Values are kept in `unit`: s, ms, us, MB, kB, 1/s, %, x, or "" for a count."""

    name: str
    title: str
    unit: str
    better: Literal["less", "more"]

    @property
    def heading(self) -> str:
        """The title, with the unit behind it."""
        return f"{self.title} ({_SPELT.get(self.unit, self.unit)})" if self.unit else self.title

    def text(self, value: float) -> str:
        """With its unit, and as many digits as mean something."""
        return f"{digits(value)} {_SPELT.get(self.unit, self.unit)}".rstrip()


@dataclass(frozen=True, slots=True)
class Run:
    """What one side did once. `case` tells apart what a side does several times a round, such as "64 connections".

    A run need not have every figure of its question, and one that failed has none: `failed` is the reason.
    """

    side: str
    round: int
    figures: Mapping[str, float]
    case: str = ""
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`met` is None for what could not be measured here; `measured` then says why."""

    met: bool | None
    measured: str


@dataclass(frozen=True, slots=True)
class Goal:
    """What has to be so. `judge` may let NotMeasured through; `verdict` is what everybody else asks.

    It is not met where litesup failed in a run, whatever the other runs say.
    `unmet` is for the page, and there only while the goal is not met: the reason, and what was tried.
    """

    text: str
    judge: Callable[[Sequence[Run]], Verdict]
    unmet: str = ""

    def verdict(self, runs: Sequence[Run]) -> Verdict:
        try:
            found = self.judge(runs)
        except NotMeasured as why:
            found = Verdict(None, f"not measured: {why}")
        broken = sum(1 for run in runs if run.side == OURS and run.failed)
        return Verdict(False, f"{found.measured}; {OURS} failed {_times(broken)}") if broken else found


Measure = Callable[[int, Sequence[str]], Iterator[Run] | AsyncIterator[Run]]
"""Of rounds and sides. Each run is handed out as soon as it is over, round after round (`in_turns`).

It may be closed at any point between two runs, and then leaves nothing running.
"""


@dataclass(frozen=True, slots=True)
class Question:
    """`how` is a paragraph for the page: what is done, and what the sides are. `sides` are in the page's order."""

    name: str
    title: str
    how: str
    sides: Sequence[str]
    figures: Sequence[Figure]
    goals: Sequence[Goal]
    measure: Measure
    rounds: int = 3
    budget: float = 180.0
    """Seconds that all rounds together may take on two cores; no further round is begun that would go beyond, and one
    that does is ended."""
    shares: str = ""
    """The question of whose runs this one is asked, too, by name: such questions take their time once."""
    needs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Programs without which a side is left out; under "" those without which there is nothing to measure."""
    cores: int = 1
    also: Sequence[str] = ()
    """Sides that are measured only when they are named, such as prototypes; on no page."""
    drawn: Sequence[str] = ()
    """The figures in the picture, by name; none means all of them."""
    growth: bool = False
    """Cases are steps such as "16 replicas", so the picture is a line per figure instead of bars."""

    def figure(self, name: str) -> Figure:
        return next(each for each in self.figures if each.name == name)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def digits(value: float) -> str:
    """Three of them; counts in full."""
    size = abs(value)
    if value == int(value) or size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.2g}"


def in_turns(sides: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """(round, side), in an order that changes: no side always runs first, or always after the same other one."""
    for number in range(rounds):
        first = number // 2 % len(sides)
        order = [*sides[first:], *sides[:first]]
        yield from ((number, side) for side in (order if number % 2 == 0 else order[::-1]))


def cases(runs: Sequence[Run]) -> list[str]:
    """In the order in which they first occur; a failure to start is none."""
    return list(dict.fromkeys(run.case for run in runs if run.figures))


def values(runs: Sequence[Run], side: str, figure: str, case: str = "") -> list[float]:
    """One per run. Raises NotMeasured when there is none."""
    found = [run.figures[figure] for run in runs if (run.side, run.case) == (side, case) and figure in run.figures]
    if not found:
        raise NotMeasured(f"no figure “{figure}” of {side}{f' with {case}' if case else ''}")
    return found


def median(runs: Sequence[Run], side: str, figure: str, case: str = "") -> float:
    """Raises NotMeasured when there is no such figure."""
    return statistics.median(values(runs, side, figure, case))


def spread(runs: Sequence[Run], side: str, figure: str, case: str = "") -> tuple[float, float]:
    """The lowest and the highest. Raises NotMeasured when there is no such figure."""
    found = values(runs, side, figure, case)
    return min(found), max(found)


def ratio(runs: Sequence[Run], ours: str, theirs: str, figure: str, case: str = "") -> float:
    """Of the medians, ours to theirs. Raises NotMeasured when one of them is missing, or theirs is nothing."""
    denominator = median(runs, theirs, figure, case)
    if denominator == 0:
        raise NotMeasured(f"“{figure}” of {theirs} is 0")
    return median(runs, ours, figure, case) / denominator


def run(question: Question) -> None:
    """The command line of one question: `python -m benchmarks.NAME`."""
    from benchmarks.command import main

    main(question)
