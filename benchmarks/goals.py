"""The kinds of goal that several questions share: so much of a peer's figure, and so much at most."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.question import OURS, Figure, NotMeasured, Run, Verdict, median, ratio

Judge = Callable[[Sequence[Run]], Verdict]


def share_of(peer: str, figure: str, most: float) -> Judge:
    """litesup's figure is at most so much of the peer's."""

    def judge(runs: Sequence[Run]) -> Verdict:
        share = ratio(runs, OURS, peer, figure)
        return Verdict(share <= most, f"{share:.2f} ×")

    return judge


def at_most(figure: Figure, most: float) -> Judge:
    """litesup's figure."""

    def judge(runs: Sequence[Run]) -> Verdict:
        value = median(runs, OURS, figure.name)
        return Verdict(value <= most, figure.text(value))

    return judge


def never(figure: Figure) -> Judge:
    """In no run of litesup's; a median would hide one."""

    def judge(runs: Sequence[Run]) -> Verdict:
        found = [run.figures[figure.name] for run in runs if run.side == OURS and figure.name in run.figures]
        if not found:
            raise NotMeasured(f"no figure “{figure.name}” of {OURS}")
        return Verdict(sum(found) == 0, f"{sum(found):g} in {len(found)} runs")

    return judge


def all_of(*judges: Judge) -> Judge:
    """Met when each is."""

    def judge(runs: Sequence[Run]) -> Verdict:
        verdicts = [each(runs) for each in judges]
        return Verdict(all(verdict.met for verdict in verdicts), ", ".join(verdict.measured for verdict in verdicts))

    return judge
