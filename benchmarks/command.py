"""The command line that every question has: `python -m benchmarks.NAME [--rounds N] [--sides …] [--json]`.

Prints, and keeps nothing: what is committed comes from `python -m benchmarks`.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.collect import CannotMeasureError, collect
from benchmarks.question import Question
from benchmarks.result import Result, document
from benchmarks.table import lines

INTERRUPTED = 130


def main(question: Question, arguments: Sequence[str] | None = None, *, asked: Sequence[str] = ()) -> None:
    """`asked` is how it was really called, by a module that takes options of its own."""
    options = _parser(question).parse_args(arguments)
    sides = [side for side in (*question.sides, *question.also) if side in options.sides]
    command = f"python -m benchmarks.{question.name} --rounds {options.rounds}"
    if sides != list(question.sides):
        command += f" --sides {' '.join(sides)}"
    if asked:
        command = f"python -m benchmarks.{question.name} {' '.join(asked)}"
    try:
        result = collect(question, rounds=options.rounds, sides=sides, command=command)
    except CannotMeasureError as error:
        sys.exit(f"{question.name}: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    print(document(result) if options.json else report(question, result))


def main_with(flag: str, told: str, make: Callable[[Any], Question], **how: Any) -> None:
    """The same for a question that `make` makes of an option of its own; `how` is for argparse."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(flag, dest="own", **how)
    options, rest = parser.parse_known_args()
    if {"-h", "--help"} & set(rest):
        print(f"{flag} {told}\n")
    main(make(options.own), rest, asked=sys.argv[1:] if options.own != how["default"] else ())


def report(question: Question, result: Result) -> str:
    head = {**result.machine, **result.versions, "command": result.command, "took": f"{result.seconds:.0f} s"}
    width = max(map(len, head)) + 2
    return "\n".join([*(f"{name:<{width}}{value}" for name, value in head.items()), *lines(question, result.runs)])


def _parser(question: Question) -> argparse.ArgumentParser:
    also = f"; on demand: {' '.join(question.also)}" if question.also else ""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{question.name}",
        description=f"{question.title}.\n\n{textwrap.fill(question.how, 100)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--rounds",
        type=int,
        choices=range(1, 51),
        default=question.rounds,
        metavar="N",
        help=f"1 to 50 (default: {question.rounds}); in each, every side has its turn",
    )
    parser.add_argument(
        "--sides",
        nargs="+",
        choices=[*question.sides, *question.also],
        default=list(question.sides),
        metavar="SIDE",
        help=f"some of: {' '.join(question.sides)}{also}",
    )
    parser.add_argument("--json", action="store_true", help="every run as JSON, instead of the table")
    return parser
