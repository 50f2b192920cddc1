"""Clients that leave while nobody reads from them.

A connection from which nothing is read, because a replica does not take the upload or because the request waits in
line, does not tell the loop that its other end has gone. So those are asked, a few times a second.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Iterable

INTERVAL = 0.25
"""Seconds between two looks: a client's leaving has to reach the replica within one."""


class Departures:
    """Aborts those of `transports`, from which nothing is read, whose client has gone."""

    def __init__(self, transports: Callable[[], Iterable[asyncio.Transport]]) -> None:
        self._transports = transports
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self.start()
        silent: dict[int, asyncio.Transport] = {}
        poll = select.poll()
        for transport in self._transports():
            if not transport.is_closing():
                descriptor = transport.get_extra_info("socket").fileno()
                if descriptor >= 0:
                    silent[descriptor] = transport
                    poll.register(descriptor, select.POLLRDHUP)
        if silent:
            for descriptor, _ in poll.poll(0):
                silent[descriptor].abort()
