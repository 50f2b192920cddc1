"""The figures of a result as rows: for the terminal here, for the page in `page.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.question import OURS, Figure, NotMeasured, Question, Run, cases, digits, median, spread, values


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one side in one case. `ratio` is its median to litesup's, None where that means nothing."""

    case: str
    figure: Figure
    side: str
    median: float
    lowest: float
    highest: float
    runs: int
    ratio: float | None


def rows(question: Question, runs: Sequence[Run]) -> Iterator[Row]:
    """Case by case, figure by figure, side by side, in the question's order; what was not measured is not there."""
    for case in cases(runs):
        for figure in question.figures:
            for side in (*question.sides, *question.also):
                try:
                    middle = median(runs, side, figure.name, case)
                except NotMeasured:
                    continue
                lowest, highest = spread(runs, side, figure.name, case)
                count = len(values(runs, side, figure.name, case))
                yield Row(case, figure, side, middle, lowest, highest, count, _to_ours(runs, side, figure, case))


def _to_ours(runs: Sequence[Run], side: str, figure: Figure, case: str) -> float | None:
    try:
        ours = median(runs, OURS, figure.name, case)
    except NotMeasured:
        return None
    return median(runs, side, figure.name, case) / ours if ours and side != OURS else None


def lines(question: Question, runs: Sequence[Run]) -> Iterator[str]:
    """For a terminal: figures and sides, then what became of the goals."""
    found = list(rows(question, runs))
    width = max((len(row.side) for row in found), default=0) + 2
    for row, before in zip(found, [None, *found], strict=False):
        if before is None or (row.case, row.figure) != (before.case, before.figure):
            yield ""
            yield ", ".join(filter(None, (row.case, row.figure.heading)))
            yield f"  {'':<{width}}{'median':>10}{'lowest':>10}{'highest':>10}{'x ' + OURS:>11}"
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        figures = "".join(f"{digits(each):>10}" for each in (row.median, row.lowest, row.highest))
        yield f"  {row.side:<{width}}{figures}{ratio:>11}".rstrip()
    yield ""
    yield from failures(runs)
    for goal in question.goals:
        verdict = goal.verdict(runs)
        word = {True: "met", False: "NOT MET", None: "unknown"}[verdict.met]
        yield f"{word:<8} {goal.text}: {verdict.measured}"


def failures(runs: Sequence[Run]) -> Iterator[str]:
    """A sentence for each reason for which a side has fewer figures than it should."""
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.failed:
            found.setdefault((run.side, run.failed), []).append(run)
    for (side, why), of in found.items():
        where = "; ".join(f"round {run.round + 1}{f', {run.case}' if run.case else ''}" for run in of)
        yield f"{side} failed ({where}): {why}"
