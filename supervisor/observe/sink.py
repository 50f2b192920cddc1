"""Where log lines go: a bounded line in front of a file descriptor that may be slow, and a thread that writes.

The event loop never waits for a terminal, a pipe or a disk. When the reader cannot keep up the oldest lines are
dropped and counted, and the next line that gets through says how many.

A line in no hurry, such as LiteLLM's about a request, waits a moment for others: to wake the thread for each costs more
than the line, for on a busy machine it takes the core from a replica that is at work (decision 2, "In turns").
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable

from supervisor.backlog import Backlog

BATCH_BYTES = 64 * 1024

MOST_CHARACTERS = 16 * 1024 * 1024
"""Of the lines that wait, however many they may be."""

LINGER = 0.05
"""Seconds that a line in no hurry waits at most; so much of what LiteLLM said is lost where the daemon is killed."""


class Sink:
    """Writes lines to `descriptor` in the order given. `notice` makes the line that reports dropped ones."""

    def __init__(self, descriptor: int, *, limit: int, notice: Callable[[int], str], linger: float = LINGER) -> None:
        self._descriptor = descriptor
        self._notice = notice
        self._linger = linger
        self._lines = Backlog[str](limit, MOST_CHARACTERS, len)
        self._changed = threading.Condition()
        self._hurry = False  # what waits is to be written now
        self._closing = False
        self._broken = False
        self._untold = 0
        self._dropped = 0
        self._writing = False
        self._thread = threading.Thread(target=self._run, name="litesup-logs", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines dropped since the start."""
        return self._dropped

    def hold(self, lines: int) -> None:
        """At most so many wait from now on."""
        with self._changed:
            self._drop(self._lines.hold(lines))

    def write(self, line: str, *, soon: bool = True) -> None:
        """Takes one line without its newline; never blocks, never raises. One that is to come `soon` takes along what
        waits before it."""
        with self._changed:
            if self._broken:
                self._drop(1)
            else:
                self._drop(self._lines.put(line))
                if soon or self._lines.half_full:  # or lines would be lost for nothing
                    self._hurry = True
                    self._changed.notify_all()
                elif len(self._lines) == 1:
                    self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Waits until everything is written, at most `timeout` seconds; returns whether it was."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while (self._lines or self._writing) and not self._broken:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                if self._lines and not self._hurry:
                    self._hurry = True
                    self._changed.notify_all()
                self._changed.wait(left)
        return not self._broken

    def close(self, timeout: float) -> None:
        """Writes what is left, at most for `timeout` seconds, and ends the thread where that can be done."""
        self.flush(timeout)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(0.2)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._closing:
                    self._changed.wait()
                if not self._lines:
                    return
                self._changed.wait_for(lambda: self._hurry or self._closing, self._linger)
                batch, size, told = [], 0, self._untold
                self._untold = 0
                while self._lines and size < BATCH_BYTES:
                    batch.append(self._lines.take())
                    size += len(batch[-1])
                self._hurry = bool(self._lines)
                self._writing = True
            shown = [self._notice(told), *batch] if told else batch
            written = self._put(("\n".join(shown) + "\n").encode("utf-8", "replace"))
            with self._changed:
                self._writing = False
                if not written:
                    self._broken = True
                    self._dropped += len(batch) + len(self._lines)
                    self._lines.clear()
                self._changed.notify_all()

    def _drop(self, count: int) -> None:
        self._dropped += count
        self._untold += count

    def _put(self, data: bytes) -> bool:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # a terminal that another program made non-blocking
                select.select([], [self._descriptor], [], 1.0)
            except OSError:
                return False  # the reader is gone for good
        return True
