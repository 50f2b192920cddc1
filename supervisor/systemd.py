"""What a unit of `Type=notify` tells systemd: sd_notify(3), by hand, because it is one datagram.

The messages are pure functions of the status; `Notifier` sends them. Without NOTIFY_SOCKET nothing is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping

from supervisor.status import Condition, Status

BEFORE_READY = 0.1
"""Seconds between two looks until systemd has been told READY: it holds back what is ordered after this unit."""

AFTERWARDS = 2.0
"""Seconds between two looks from then on, unless the watchdog wants more."""

PATIENCE = 30.0
"""Seconds more that are asked for, again and again, while starting."""

SERVING = frozenset({Condition.READY, Condition.DEGRADED, Condition.ROLLING})


def watchdog_interval(environ: Mapping[str, str], pid: int | None = None) -> float | None:
    """Seconds between two signs of life, half of what sd_watchdog_enabled(3) allows; None if it wants none."""
    try:
        microseconds = int(environ["WATCHDOG_USEC"])
        meant = int(environ.get("WATCHDOG_PID") or (pid or os.getpid()))
    except (KeyError, ValueError):
        return None
    if microseconds <= 0 or meant != (pid or os.getpid()):
        return None
    return microseconds / 1e6 / 2


class Notifier:
    """The daemon's voice towards systemd."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._watchdog = watchdog_interval(environ) if self._address else None
        self._told_ready = False
        self._stop_deadline: float | None = None

    async def run(self, status: Callable[[], Status]) -> None:
        """Follows the status until cancelled. Runs in the loop that serves, so that a loop that hangs is noticed."""
        if not self._address:
            return
        while True:
            self.send(*self._messages(status()))
            pause = AFTERWARDS if self._told_ready else BEFORE_READY
            await asyncio.sleep(min(pause, self._watchdog or pause))

    def stopping(self, seconds: float) -> None:
        """Says that the end has begun and may take this long."""
        self._stop_deadline = time.monotonic() + seconds
        self.send("STOPPING=1", extend_timeout(seconds + PATIENCE))

    def reloading(self) -> None:
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def ready(self) -> None:
        self.send("READY=1")

    def send(self, *messages: str) -> None:
        """One datagram. Failures are silent: systemd's timeouts and watchdog notice what matters."""
        if not self._address:
            return
        # An abstract address is written with @ and begins with a zero byte.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
        ):
            out.setblocking(False)
            out.connect(address)
            out.send("\n".join(messages).encode())

    def _messages(self, status: Status) -> list[str]:
        messages = [f"STATUS={status_text(status)}"]
        if self._watchdog is not None:
            messages.append("WATCHDOG=1")
        condition = status.daemon.condition
        if self._stop_deadline is not None:
            left = self._stop_deadline - time.monotonic()
            if left > 0:
                messages.append(extend_timeout(left + PATIENCE))
        elif not self._told_ready:
            if condition in SERVING:
                self._told_ready = True
                messages.append("READY=1")
            else:
                messages.append(extend_timeout(PATIENCE))
        return messages


def extend_timeout(seconds: float) -> str:
    return f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}"


def status_text(status: Status) -> str:
    """The line that `systemctl status` shows."""
    parts = [f"{status.daemon.condition.value}: {status.ready_replicas} of {status.wanted_replicas} replicas ready"]
    if status.generation.wanted:
        parts.append(f"generation {status.generation.wanted}")
    if status.generation.refused_at is not None:
        parts.append("the configuration on disk is refused")
    if status.generation.note:
        parts.append("serving from the history: see litesup status")
    return ", ".join(parts)
