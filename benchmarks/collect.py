"""Asks a question: leaves out the sides that cannot take part, tells of each run, and keeps to the time."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from benchmarks.left_over import nothing_left
from benchmarks.machine import advice, cores, disturbance, machine, missing, versions
from benchmarks.question import Question, Run
from benchmarks.result import Result

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _LateError(BaseException):
    """There is no more time. Nothing that handles failures of a side may take it for one."""


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

    def out_of_time(self) -> None:
        """What is complete counts, and is in the table as it is."""
        number = self.runs[-1].round + 1 if self.runs else 1
        self.cut = f"what was complete in round {number} of {self.rounds} when its time was over"


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
    ending = _Ending()
    with ending, nothing_left():
        measured = question.measure(rounds, present)
        if isinstance(measured, AsyncIterator):
            asyncio.run(_drain(measured, progress, ending))
        else:
            _drain_plainly(measured, progress)
    if not progress.runs:
        raise RuntimeError(f"nothing of it was complete after {time.monotonic() - progress.clock:.0f} s")
    if progress.cut:
        _tell(progress.cut)
    return Result(
        question=question.name,
        date=date,
        seconds=round(time.monotonic() - progress.clock, 1),
        command=command,
        machine=where,
        versions=software,
        disturbed=disturbed,
        cut=progress.cut,
        missing=lacking,
        runs=tuple(progress.runs),
    )


class _Ending:
    """SIGINT and SIGTERM end the block, once: what comes after them must not disturb the cleaning up, which has limits.

    Whoever sends SIGTERM, such as `timeout`, must not leave a dozen LiteLLMs behind; nor where SIGINT is ignored, as it
    is for what a script runs in the background.
    """

    def __init__(self) -> None:
        self.told = False
        self.cancel: Callable[[], object] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._end) for number in _SIGNALS}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _end(self, *_: object) -> None:
        if self.told:
            _tell("ending what was started; this takes a minute at most")
            return
        self.told = True
        if self.cancel is None:
            raise KeyboardInterrupt
        asyncio.get_running_loop().call_soon_threadsafe(self.cancel)


async def _drain(measured: AsyncIterator[Run], progress: Progress, ending: _Ending) -> None:
    task = asyncio.current_task()
    assert task is not None
    ending.cancel = task.cancel
    limit = asyncio.timeout(progress.budget)
    try:
        async with limit, aclosing(cast("AsyncGenerator[Run, None]", measured)):
            async for run in measured:
                if not _taken(run, progress):
                    return
    except TimeoutError:
        if not limit.expired():
            raise
        progress.out_of_time()
    except asyncio.CancelledError:
        if ending.told:
            raise KeyboardInterrupt from None
        raise
    finally:
        ending.cancel = None


def _drain_plainly(measured: Iterator[Run], progress: Progress) -> None:
    def late(*_: object) -> None:
        raise _LateError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, progress.budget or 0.0)
    try:
        with closing(cast("Generator[Run, None, None]", measured)):
            try:
                for run in measured:
                    if not _taken(run, progress):
                        return
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0.0)
    except _LateError:
        progress.out_of_time()
    finally:
        signal.signal(signal.SIGALRM, before)


def _taken(run: Run, progress: Progress) -> bool:
    figures = ", ".join(
        f"{figure.title} {figure.text(run.figures[figure.name])}"
        for figure in progress.question.figures
        if figure.name in run.figures
    )
    where = ", ".join(filter(None, (run.side, run.case)))
    _tell(f"round {run.round + 1}: {where}: {f'FAILED: {run.failed}' if run.failed else figures}")
    return progress.take(run, time.monotonic())


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
