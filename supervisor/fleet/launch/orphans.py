"""Reaps the children that nobody started: the daemon is a subreaper, so what a replica leaves behind becomes its child.

A child that somebody waits for is never touched. Whether a stranger belongs to somebody (an `asyncio` subprocess, say)
cannot be known, but its owner takes its status within moments: so only what stayed a zombie from one look to the next
is taken for an orphan.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

from supervisor.fleet.launch import child, kernel

INTERVAL = 5.0  # seconds between two looks


class Orphans:
    """Looks now and then, from `start` to `stop`."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._seen: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Becomes the subreaper and begins to look. Idempotent; must run inside the event loop."""
        if self._timer is None:
            kernel.become_subreaper()
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._look)
        self.sweep()

    def sweep(self) -> list[int]:
        """One look: reaps what the last one saw too, and returns it."""
        zombies = {pid for pid in kernel.children() if not child.is_owned(pid) and kernel.is_zombie(pid)}
        reaped = sorted(zombies & self._seen)
        for pid in reaped:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
        self._seen = zombies - set(reaped)
        return reaped
