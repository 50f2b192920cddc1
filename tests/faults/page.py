"""Writes docs/faults.md from the catalogue: `python -m tests.faults.page [FILE]`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from tests.faults.catalogue import FAULTS, SECTIONS
from tests.faults.fault import Fault

FILE = Path("docs/faults.md")
_HEAD = """\
# What may go wrong, and what a client sees of it

Written by `python -m tests.faults.page`; a test fails when it is stale.

Each of these {count} faults is done to a running litesup by a test in `tests/faults`, with real processes and replicas
that are not LiteLLM; those marked **R**, {real} of them, by one in `tests/e2e` with the real LiteLLM too. A client sees what
the table says at most. The last column is what holds it. `python -m tests.faults.without NAME` takes that out of a
running daemon and runs the test, which then has to fail; `--list` names the faults with which it can be done.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD.format(count=len(FAULTS), real=sum(1 for fault in FAULTS if fault.real))]
    for heading, faults in SECTIONS.items():
        parts.append(f"## {heading}\n\n{table(faults)}")
    return "\n".join(parts)


def table(faults: Iterable[Fault]) -> str:
    rows = ["| fault | what is done | what a client sees at most | held by |", "|---|---|---|---|"]
    rows += [f"| {_named(fault)} | {fault.done} | {fault.seen} | `{_attribute(fault)}` |" for fault in faults]
    return "\n".join(rows) + "\n"


def _named(fault: Fault) -> str:
    return f"`{fault.name}`{' **R**' if fault.real else ''}"


def _attribute(fault: Fault) -> str:
    return fault.held_by.replace(":", ".")


def main() -> None:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    file.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
