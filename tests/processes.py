"""The processes that a test has started in its own."""

from __future__ import annotations

import contextlib

import psutil


class Children:
    """Calling it gives the children that run, without those that were there when it was made.

    Pools that the whole session shares are children too; and launchers adopt orphans, so that what other tests killed
    may still lie here, waiting to be reaped.
    """

    def __init__(self) -> None:
        self._older = {child.pid for child in psutil.Process().children()}

    def __call__(self) -> list[int]:
        living = []
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.pid not in self._older and child.status() != psutil.STATUS_ZOMBIE:
                    living.append(child.pid)
        return living
