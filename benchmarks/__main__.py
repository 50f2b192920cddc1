"""Asks every question in turn, keeps the answers, and writes the page from them.

    python -m benchmarks                        all of them, half an hour on two cores
    python -m benchmarks --only hop boot        some; the results of the others stay
    python -m benchmarks --list                 which there are
    python -m benchmarks --rounds 1 --into /tmp/trial   the smallest one, and nothing of the project's is changed

Results go to `benchmarks/results/`, the page and its pictures to `docs/`. What is complete is kept: after Ctrl-C, or
when a question fails, the other answers are there and the page is written. Ends with 1 when a question failed; a goal
that is not met is no failure, but a line of the page.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from benchmarks import page
from benchmarks.collect import CannotMeasureError, collect
from benchmarks.command import INTERRUPTED
from benchmarks.question import Question
from benchmarks.questions import asked
from benchmarks.result import Result, save

FAILED = 1


def ask(questions: Sequence[Question], places: page.Places, rounds: int | None) -> int:
    """The exit code."""
    since = time.monotonic()
    said: list[str] = []
    code = 0
    asked_already: dict[str, int] = {}
    written = "no page was written"
    for number, question in enumerate(questions):
        # One that was cut short is not gone on with by the next one that shares its runs.
        many = asked_already.get(question.shares or question.name, rounds or question.rounds)
        print(f"\n{question.title}: {many} rounds, at most {question.budget:.0f} s", file=sys.stderr, flush=True)
        try:
            result = collect(
                question,
                rounds=many,
                sides=question.sides,
                command=f"python -m benchmarks.{question.name} --rounds {many}",
                budget=question.budget if rounds is None else None,
                first=number == 0,
            )
        except KeyboardInterrupt:
            said.append(f"{question.name:<14} interrupted; what it said before stays")
            code = INTERRUPTED
            break
        except CannotMeasureError as error:
            said.append(f"{question.name:<14} not measured: {error}")
        except Exception as error:  # one that fails must not take the others' answers with it
            traceback.print_exc()
            said.append(f"{question.name:<14} failed: {type(error).__name__}: {error}")
            code = FAILED
        else:
            asked_already[question.shares or question.name] = result.rounds
            save(result, places.results)
            page.write(places)
            written = str(places.docs / "benchmarks.md")
            said.append(f"{question.name:<14} {result.seconds:>5.0f} s  {_goals(question, result)}")
    print(file=sys.stderr)
    for line in said:
        print(line)
    print(f"{time.monotonic() - since:.0f} s in all; {written}")
    return code


def _goals(question: Question, result: Result) -> str:
    verdicts = [(goal, goal.verdict(result.runs)) for goal in question.goals]
    met = sum(1 for _, verdict in verdicts if verdict.met)
    rest = "".join(f"; {goal.text}: {verdict.measured}" for goal, verdict in verdicts if not verdict.met)
    return f"{met} of {len(verdicts)} goals met{rest}"


def main(arguments: Sequence[str] | None = None) -> None:
    questions = list(asked())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [question.name for question in questions]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"some of: {' '.join(names)}")
    parser.add_argument(
        "--rounds", type=int, choices=range(1, 51), metavar="N", help="1 to 50, of each, however long they take"
    )
    parser.add_argument("--into", type=Path, metavar="DIR", help="keep results and page there, not in the project")
    parser.add_argument("--list", action="store_true", help="names, rounds, time and titles, and nothing else")
    options = parser.parse_args(arguments)
    chosen = [question for question in questions if options.only is None or question.name in options.only]
    if options.list:
        for question in chosen:
            print(f"{question.name:<14} {question.rounds:>2} rounds, {question.budget:>4.0f} s  {question.title}")
        return
    try:
        sys.exit(ask(chosen, page.Places.below(options.into), options.rounds))
    except KeyboardInterrupt:  # between two questions, or while one told of what the same Ctrl-C did to its children
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
