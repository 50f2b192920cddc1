"""Writes docs/benchmarks.md and its pictures from the results that are kept: `python -m benchmarks.page [--into DIR]`.

Nothing is measured. What the page says of a goal follows from the runs; the reason why one is not met comes from the
question's own module, and is left out as soon as it is met.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import advice
from benchmarks.picture import panels, picture, step
from benchmarks.question import OURS, Question, Verdict, digits
from benchmarks.questions import asked
from benchmarks.result import RESULTS, Result, load
from benchmarks.table import Row, failures, rows

DOCS = Path(__file__).resolve().parents[1] / "docs"
_HEAD = """\
# Benchmarks

Written by `make bench`; a test fails when this page is not what `benchmarks/results/` gives.

What litesup costs and gains beside those that it competes with: LiteLLM's own ways to run several workers, nginx and
HAProxy. Each question is asked on one machine, which its sides take in turns, round after round and in a changing
order, so that no side always has the warmer caches. A figure is the median of the rounds, with the lowest and the
highest beside it; `×` is its ratio to litesup's. Only the loopback interface is used, and the provider is a fake one:
what a real one takes is the same for every side. The machine is described at the end: on another one the figures are
others, and the ratios about the same.

`make bench` asks all of this again, in half an hour on two cores; `make bench BENCH_ARGS='--only hop boot'` some of it.
"""
_NOTHING = "Nothing has been measured yet.\n"
_NO_TIME = 1.0  # seconds; whoever took less has not measured anything himself
_MET = {True: "yes", False: "**no**", None: "–"}


@dataclass(frozen=True, slots=True)
class Places:
    """Where results are kept, and where the page and the folder of pictures go."""

    results: Path = RESULTS
    docs: Path = DOCS

    @classmethod
    def below(cls, folder: Path | None) -> Places:
        """For a trial; without a folder the project's own."""
        return cls() if folder is None else cls(folder / "results", folder)


def page(questions: Sequence[Question], results: Mapping[str, Result]) -> str:
    """The whole page. A question without a result is in the table only."""
    measured = [(question, results[question.name]) for question in questions if question.name in results]
    if not measured:
        return f"{_HEAD}\n{_NOTHING}"
    parts = [_HEAD, _summary(questions, results)]
    titles = {question.name: question.title for question in questions}
    parts += [section(question, result, titles.get(question.shares, "")) for question, result in measured]
    parts.append(_machines([result for _, result in measured]))
    return "\n".join(parts)


def section(question: Question, result: Result, shares: str = "") -> str:
    """One question: how, how often, picture, figures, and what is to be said of goals that are not met.

    `shares` is the title of the one whose runs these are.
    """
    parts = [f"## {question.title}", question.how.strip(), _made(result, shares)]
    parts += [
        f"*{side}* is left out, because it is not installed: {advice(names)}." for side, names in result.missing.items()
    ]
    parts += [f"**{_plain(line)}.**" for line in failures(result.runs)]
    drawn = ", ".join(dict.fromkeys(panel.figure.title for panel in panels(question, result.runs)))
    parts += [
        f"![{question.title}: {drawn}. The table below has these figures.](benchmarks/{question.name}.svg)",
        _figures(question, result),
    ]
    unmet: dict[str, list[str]] = {}
    for goal in question.goals:
        verdict = goal.verdict(result.runs)
        if verdict.met is False:
            unmet.setdefault(goal.unmet, []).append(f"**Not met: {goal.text}.** Measured: {verdict.measured}.")
    parts += [" ".join([*goals, why]).rstrip() for why, goals in unmet.items()]
    return "\n\n".join(parts) + "\n"


def write(places: Places) -> None:
    """Raises ValueError for a result that cannot be read."""
    results = load(places.results)
    questions = list(asked())
    places.docs.mkdir(parents=True, exist_ok=True)
    (places.docs / "benchmarks.md").write_text(page(questions, results), encoding="utf-8")
    folder = places.docs / "benchmarks"
    drawn = {f"{question.name}.svg": question for question in questions if question.name in results}
    for file in folder.glob("*.svg"):
        if file.name not in drawn:
            file.unlink()
    if drawn:
        folder.mkdir(exist_ok=True)
    for name, question in drawn.items():
        (folder / name).write_text(picture(question, results[question.name].runs), encoding="utf-8")


def _summary(questions: Sequence[Question], results: Mapping[str, Result]) -> str:
    lines = ["| question | goal | measured | met |", "|---|---|---|---|"]
    for question in questions:
        result = results.get(question.name)
        title = question.title if result is None else f"[{question.title}](#{_anchor(question.title)})"
        for number, goal in enumerate(question.goals):
            verdict = Verdict(None, "not yet") if result is None else goal.verdict(result.runs)
            cells = ("" if number else title, goal.text, verdict.measured, _MET[verdict.met])
            lines.append(_line(*cells))
    return "\n".join(lines) + "\n"


def _made(result: Result, shares: str) -> str:
    rounds = f"{result.rounds} round{'s' if result.rounds != 1 else ''}"
    same = result.seconds < _NO_TIME and shares
    took = f", the same as for [{shares}](#{_anchor(shares)})" if same else f" in {_spell(result.seconds)}"
    text = f"`{result.command}`: {rounds}{took}, on {result.date}."
    if result.cut:
        text += f" Only {result.cut}."
    if result.disturbed:
        text += f" **The machine was not quiet: {result.disturbed}.**"
    return text


def _figures(question: Question, result: Result) -> str:
    """Sides across and figures down; with growth, a table for each thing that grows, with its sizes across."""
    found = list(rows(question, result.runs))
    if question.growth:
        what = dict.fromkeys(step(row.case)[1] for row in found)
        return "\n\n".join(_sizes([row for row in found if step(row.case)[1] == each], each) for each in what)
    sides = [side for side in question.sides if any(row.side == side for row in found)]
    cells = {(row.figure.name, row.case, row.side): row for row in found}
    lines = [_line("", *sides), f"|---|{'---:|' * len(sides)}"]
    for figure in question.figures:
        of = dict.fromkeys(case for name, case, _ in cells if name == figure.name)
        if len(of) > 1:
            told = [row for row in found if row.figure == figure]
            if not any(row.highest for row in told):
                lines.append(_line(f"{figure.heading}, always", *("0" for _ in sides)))
                continue
            lines.append(_line(f"*{figure.heading}*", *("" for _ in sides)))
        for case in of:
            name = case if len(of) > 1 else ", ".join(filter(None, (figure.heading, case)))
            lines.append(_line(name, *(_in_cell(cells.get((figure.name, case, side))) for side in sides)))
    return "\n".join(lines)


def _sizes(found: Sequence[Row], what: str) -> str:
    """One thing that grows: its sizes across, and a line for each figure (of each side, where there are several)."""
    sizes = sorted({step(row.case)[0] for row in found})
    cells = {(row.figure.name, row.side, step(row.case)[0]): row for row in found}
    several = len({row.side for row in found}) > 1
    lines = [_line(what, *(digits(size) for size in sizes)), f"|---|{'---:|' * len(sizes)}"]
    for figure, side in dict.fromkeys((row.figure, row.side) for row in found):
        name = f"{figure.heading}, {side}" if several else figure.heading
        lines.append(_line(name, *(_in_cell(cells.get((figure.name, side, size)), among=several) for size in sizes)))
    return "\n".join(lines)


def _line(*cells: str) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _in_cell(row: Row | None, *, among: bool = True) -> str:
    """litesup's stand out among those of others."""
    if row is None:
        return "–"
    median = digits(row.median)
    parts = [f"**{median}**" if row.side == OURS and among else median]
    if row.runs > 1 and row.lowest != row.highest:
        parts.append(f"{digits(row.lowest)} – {digits(row.highest)}")
    if row.ratio is not None:
        parts.append(f"{digits(row.ratio)} ×")
    return "<br>".join(parts)


def _machines(results: Sequence[Result]) -> str:
    """What is the same for all, once; what is not, with the questions that it is true of."""
    found: dict[str, dict[str, list[str]]] = {}
    for result in results:
        for name, value in {**result.machine, **result.versions}.items():
            if name != "load before":
                found.setdefault(name, {}).setdefault(value, []).append(result.question)
    lines = ["## The machine", "", "| | |", "|---|---|"]
    for name, of in found.items():
        told = (value if len(of) == 1 else f"{value} ({', '.join(asking)})" for value, asking in of.items())
        lines.append(f"| {name} | {_cell('<br>'.join(told))} |")
    loads = ", ".join(f"{result.question} {result.machine['load before']}" for result in results)
    lines.append(f"| load before (1, 5 and 15 minutes; the earlier questions are part of it) | {loads} |")
    return "\n".join(lines) + "\n"


def _anchor(title: str) -> str:
    """As GitHub makes them: lower case, no punctuation, dashes for blanks."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _plain(text: str) -> str:
    """What a program said, with nothing in it that Markdown would take for its own."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", text.rstrip("."))


def _spell(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} minutes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, metavar="DIR", help="from DIR/results into DIR, not the project's own")
    try:
        write(Places.below(parser.parse_args().into))
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
