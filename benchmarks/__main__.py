"""Asks every question in turn, keeps the answers, and writes the page from them.

    python -m benchmarks                        all of them, half an hour on two cores
    python -m benchmarks --only hop boot        some; the results of the others stay
    python -m benchmarks --list                 which there are
    python -m benchmarks --rounds 1 --into /tmp/trial   the smallest one, and nothing of the project's is changed

Results go to `benchmarks/results/`, the page and its pictures to `docs/`. What is complete is kept: after Ctrl-C or
SIGTERM, or when a question fails, the other answers are there and the page is written, and nothing that was started
runs on. Ends with 1 when a question failed, or litesup did in one; a side that failed, or a goal that is not met, is no
failure, but a line of the page.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import page
from benchmarks.collect import CannotMeasureError, collect
from benchmarks.command import INTERRUPTED
from benchmarks.machine import advice, missing
from benchmarks.question import OURS, Question
from benchmarks.questions import asked
from benchmarks.result import Result, save
from benchmarks.table import failures

FAILED = 1
HALF_AN_HOUR = 1790.0
"""Seconds that all questions may take together. Each has a budget with something to spare, and not all need that."""

SHARED = 5.0  # seconds, to take over runs that another question has made
BETWEEN = 5.0  # seconds from one question to the next: what ran is ended, and the machine comes to rest


def ask(questions: Sequence[Question], places: page.Places, rounds: int | None) -> int:
    """The exit code."""
    since = time.monotonic()
    until = since + most(questions)
    for line in (reckoned(questions, rounds), *lacking(questions)):
        print(line, file=sys.stderr)
    said: list[str] = []
    code = 0
    asked_already: dict[str, tuple[int, float]] = {}
    written = "no page was written"
    for number, question in enumerate(questions):
        # One that was cut short is not gone on with by the next one that shares its runs, and its time.
        group = question.shares or question.name
        many, budget = asked_already.get(group, (rounds or question.rounds, question.budget))
        print(f"\n{question.title}: {_rounds(many)}", file=sys.stderr, flush=True)
        try:
            result = collect(
                question,
                rounds=many,
                sides=question.sides,
                command=f"python -m benchmarks.{question.name} --rounds {many}",
                budget=min(budget, max(SHARED, until - BETWEEN - time.monotonic())) if rounds is None else None,
                first=number == 0,
            )
            save(result, places.results)
            page.write(places)
        except KeyboardInterrupt:
            kept = (places.results / f"{question.name}.json").exists()
            said.append(f"{question.name:<14} interrupted; {'its earlier result stays' if kept else 'no result of it'}")
            said += [f"{later.name:<14} not asked" for later in questions[number + 1 :]]
            code = INTERRUPTED
            break
        except CannotMeasureError as error:
            said.append(f"{question.name:<14} not measured: {error}")
        except Exception as error:  # one that fails must not take the others' answers with it
            traceback.print_exc()
            said.append(f"{question.name:<14} failed: {type(error).__name__}: {error}")
            code = FAILED
        else:
            asked_already[group] = (result.rounds, max(SHARED, budget - result.seconds))
            written = str(places.docs / "benchmarks.md")
            said.append(f"{question.name:<14} {result.seconds:>5.0f} s  {_goals(question, result)}")
            said += [f"{'':<14} {line}" for line in failures(result.runs)]
            if any(run.side == OURS and run.failed for run in result.runs):
                code = FAILED
    print(file=sys.stderr)
    for line in said:
        print(line)
    print(f"{time.monotonic() - since:.0f} s in all; {written}")
    return code


def reckoned(questions: Sequence[Question], rounds: int | None) -> str:
    """Those that share their runs take their time once."""
    if rounds is not None:
        return f"{len(questions)} questions, {_rounds(rounds)} of each, however long they take"
    return f"{len(questions)} questions, at most {math.ceil(most(questions) / 60)} minutes"


def most(questions: Sequence[Question]) -> float:
    """Seconds. Where a busy machine makes the earlier questions use all that they may, the last ones have less."""
    budgets = {question.shares or question.name: question.budget for question in questions}
    return min(HALF_AN_HOUR, sum(budgets.values()) + BETWEEN * len(questions))


def lacking(questions: Sequence[Question]) -> Iterator[str]:
    """What could still be installed before it begins."""
    names = {name for each in questions for names in missing(each.needs, each.sides).values() for name in names}
    if names:
        yield f"not installed: {', '.join(sorted(names))}; what needs it is left out ({advice(names)})"


def _rounds(count: int) -> str:
    return f"{count} round{'s' if count != 1 else ''}"


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
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, also between two questions
    try:
        sys.exit(ask(chosen, page.Places.below(options.into), options.rounds))
    except KeyboardInterrupt:  # while one told of what the same Ctrl-C did to its children
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    main()
