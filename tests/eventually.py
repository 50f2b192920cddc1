"""Waiting for a condition, with a deadline: what tests do instead of sleeping."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    check: Callable[[], Awaitable[T | None]] | Callable[[], T | None],
    *,
    within: float = 30.0,
    what: str = "the condition",
    every: float = 0.02,
) -> T:
    """Asks `check` until it returns something true, and returns that.

    Raises AssertionError after `within` seconds, with the last answer or the last AssertionError of `check`.
    """
    deadline = time.monotonic() + within
    while True:
        last: object
        try:
            answer = check()
            value = await answer if inspect.isawaitable(answer) else answer
            if value:
                return value
            last = value
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {within:g} s; at last: {last!r}")
        await asyncio.sleep(every)
