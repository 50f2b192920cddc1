"""Which questions there are, in the order of the page."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from benchmarks.question import Question

NAMES = (
    "boot",
    "memory",
    "recovery",
    "reload",
    "first_request",
    "job",
    "hop",
    "streams",
    "idle",
    "growth",
)


def question(name: str) -> Question:
    """Raises LookupError when that module asks none."""
    found = getattr(importlib.import_module(f"benchmarks.{name}"), "QUESTION", None)
    if not isinstance(found, Question):
        raise LookupError(f"benchmarks/{name}.py has no QUESTION")
    return found


def asked() -> Iterator[Question]:
    """All of them."""
    return map(question, NAMES)
