"""One scenario on both event loops, and waiting until a value does not change any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
import uvloop


async def settled(value: Callable[[], int]) -> int:
    """The value once it has not changed for a fifth of a second."""
    last, quiet = value(), 0
    while quiet < 20:
        await asyncio.sleep(0.01)
        quiet = quiet + 1 if value() == last else 0
        last = value()
    return last


def on_both_loops(scenario: Callable[[Path], Coroutine[object, object, None]]) -> Callable[..., None]:
    @pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    def test(new_loop: Callable[[], asyncio.AbstractEventLoop], short_dir: Path) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(asyncio.wait_for(scenario(short_dir), 60))

    test.__name__ = scenario.__name__
    return test
