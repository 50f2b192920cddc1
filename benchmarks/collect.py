"""Asks a question: leaves out the sides that cannot take part, tells of each run, and keeps to the time."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from benchmarks.machine import advice, cores, disturbance, machine, missing, versions
from benchmarks.question import Question, Run
from benchmarks.result import Result


class CannotMeasureError(Exception):
    """Nothing of this question can be measured here; the text says what is lacking and what to do."""


@dataclass(slots=True)
class Progress:
    """The runs so far, and whether there is time for more. `clock` in seconds."""

    question: Question
    rounds: int
    budget: float | None
    clock: float = field(default_factory=time.monotonic)
    taken: float = 0.0
    before: float = 0.0
    """Of that, by the rounds before the present one. The first may begin with starting what is measured in all."""
    runs: list[Run] = field(default_factory=list)
    cut: str = ""

    def take(self, run: Run, now: float) -> bool:
        """Whether to go on. A run that begins a round for which there is no time does not count."""
        done = run.round
        begins = bool(self.runs) and run.round > self.runs[-1].round
        if self.budget is not None and begins and self.taken + (self.taken - self.before) > self.budget:
            self.cut = f"{done} of {self.rounds} rounds, because another would have gone beyond {self.budget:.0f} s"
            return False
        if begins:
            self.before = self.taken
        self.taken = now - self.clock
        self.runs.append(run)
        return True


def collect(
    question: Question,
    *,
    rounds: int,
    sides: Sequence[str],
    command: str,
    budget: float | None = None,
    first: bool = True,
) -> Result:
    """Raises CannotMeasureError. `first`: nothing was measured just before. An interruption ends what was begun."""
    lacking = missing(question.needs, sides)
    if "" in lacking:
        raise CannotMeasureError(f"{', '.join(lacking[''])} not found: {advice(lacking[''])}")
    if cores() < question.cores:
        raise CannotMeasureError(f"this needs {question.cores} cores, and there are {cores()}")
    present = [side for side in sides if side not in lacking]
    if not present:
        raise CannotMeasureError(f"no side can take part: {advice(name for each in lacking.values() for name in each)}")
    for side, names in lacking.items():
        _tell(f"{side} is left out: {', '.join(names)} not found ({advice(names)})")
    disturbed = disturbance(first=first)
    if disturbed:
        _tell(f"this machine is not quiet, so the figures are worth little: {disturbed}")
    where, software = machine(), versions()
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    progress = Progress(question, rounds, budget)
    measured = question.measure(rounds, present)
    # Whoever ends this with SIGTERM, such as `timeout`, must not leave a dozen LiteLLMs behind; nor where SIGINT is
    # ignored, as it is for what a script runs in the background.
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT)),
    }
    try:
        if isinstance(measured, AsyncIterator):
            asyncio.run(_drain(measured, progress))
        else:
            _drain_plainly(measured, progress)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if progress.cut:
        _tell(progress.cut)
    return Result(
        question=question.name,
        date=date,
        seconds=round(progress.taken, 1),
        command=command,
        machine=where,
        versions=software,
        disturbed=disturbed,
        cut=progress.cut,
        missing=lacking,
        runs=tuple(progress.runs),
    )


async def _drain(measured: AsyncIterator[Run], progress: Progress) -> None:
    async with aclosing(cast("AsyncGenerator[Run, None]", measured)):
        async for run in measured:
            if not _taken(run, progress):
                return


def _drain_plainly(measured: Iterator[Run], progress: Progress) -> None:
    with closing(cast("Generator[Run, None, None]", measured)):
        for run in measured:
            if not _taken(run, progress):
                return


def _taken(run: Run, progress: Progress) -> bool:
    figures = ", ".join(
        f"{figure.title} {figure.text(run.figures[figure.name])}"
        for figure in progress.question.figures
        if figure.name in run.figures
    )
    where = ", ".join(filter(None, (run.side, run.case)))
    _tell(f"round {run.round + 1}: {where}: {figures}")
    return progress.take(run, time.monotonic())


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
