"""The terminal: what a person sees while something takes time, and nobody else.

Progress is one line on stderr that is gone afterwards; where stderr is no terminal it is not written at all.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from supervisor.errors import LitesupError
from supervisor.status import Status

if TYPE_CHECKING:
    from rich.console import Console

    from supervisor.control.client import ControlClient

PLAIN_WIDTH = 240
"""Columns for what is read by a program or a pager: nothing is to be folded or cut off there."""


def stdout_console() -> Console:
    """Colours on a terminal only (and not with NO_COLOR)."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


class Progress:
    """One line that is written over and over, and wiped at the end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.show("")

    def show(self, text: str) -> None:
        if text == self._shown or not self._stream.isatty():
            return
        self._shown = text
        width = shutil.get_terminal_size().columns
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(f"\r\x1b[2K{text[: width - 1]}")
            self._stream.flush()


@contextlib.contextmanager
def watched(client: ControlClient, line: Callable[[Status | None], str], *, when: bool = True) -> Iterator[None]:
    """Shows the daemon's status as progress while the body waits for the daemon."""
    if not when or not sys.stderr.isatty():
        yield
        return
    over = threading.Event()

    def look() -> None:
        with Progress(sys.stderr) as progress:
            while not over.wait(0.2):
                with contextlib.suppress(LitesupError):
                    progress.show(line(client.status(timeout=1.0)))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join(2.0)
