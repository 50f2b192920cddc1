"""A side that fails, or takes far too long, costs its own figures and nobody else's: its run says why it has none."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Awaitable, Mapping

from benchmarks.question import Run

LONGEST = 240  # letters of a reason; what a program printed before it ended is for the terminal


async def attempt(
    side: str, number: int, deed: Awaitable[Mapping[str, float]], within: float, *, case: str = ""
) -> Run:
    """The run that this side makes of it in that round, within so many seconds."""
    limit = asyncio.timeout(within)
    try:
        async with limit:
            return Run(side, number, await deed, case)
    except Exception as error:  # whatever it is, the other sides have their turn
        late = isinstance(error, TimeoutError) and limit.expired()
        return failed(side, number, TimeoutError(f"not done within {within:g} s") if late else error, case=case)


def failed(side: str, number: int, error: Exception, *, case: str = "") -> Run:
    """To be called where it is handled, so that the whole of it can be told."""
    traceback.print_exception(error, file=sys.stderr)
    return Run(side, number, {}, case, reason(error))


def reason(error: Exception) -> str:
    """One line, for the page."""
    first = next(iter(str(error).splitlines()), "").strip()
    said = first if isinstance(error, RuntimeError | AssertionError | TimeoutError) and first else ""
    text = said or f"{type(error).__name__}{f': {first}' if first else ''}"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
