"""The daemon's end of a replica's output pipe: always drained, bounded, and split into lines.

A replica that writes into a full pipe stands still, with every request that it holds. So the reading never waits for
whoever takes the lines: when too many wait, the oldest are dropped and counted, and the count is told in their place.
"""

from __future__ import annotations

import asyncio
import codecs
import os
from collections.abc import AsyncIterator

from supervisor.backlog import Backlog

LONGEST_LINE = 64 * 1024  # characters; a longer line is split
_WAITING_LINES = 10_000
_WAITING_CHARACTERS = 4 * 1024 * 1024


class Output(asyncio.Protocol):
    """Lines of one process, oldest first. `dropped` counts all lines that nobody got."""

    def __init__(self, waiting_lines: int = _WAITING_LINES, waiting_characters: int = _WAITING_CHARACTERS) -> None:
        self.dropped = 0
        self._lines = Backlog[str](waiting_lines, waiting_characters, len)
        self._untold = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._partial = ""
        self._changed = asyncio.Event()
        self._ended = False
        self._transport: asyncio.BaseTransport | None = None

    async def attach(self, read_end: int) -> None:
        """Takes the read end of the pipe over and begins to drain it."""
        pipe = os.fdopen(read_end, "rb", buffering=0)
        try:
            await asyncio.get_running_loop().connect_read_pipe(lambda: self, pipe)
        except BaseException:
            pipe.close()
            raise

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._take(self._decoder.decode(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._take(self._decoder.decode(b"", final=True))
        if self._partial:
            self._add(self._partial)
            self._partial = ""
        self._ended = True
        self._changed.set()

    def close(self) -> None:
        """Stops reading; who iterates gets what is there, then the end."""
        if self._transport is not None:
            self._transport.close()

    def _take(self, text: str) -> None:
        *whole, rest = (self._partial + text).split("\n")
        for line in whole:
            self._add(line)
        while len(rest) > LONGEST_LINE:
            self._add(rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        self._partial = rest

    def _add(self, line: str) -> None:
        line = line.removesuffix("\r")
        for start in range(0, max(len(line), 1), LONGEST_LINE):
            dropped = self._lines.put(line[start : start + LONGEST_LINE])
            self.dropped += dropped
            self._untold += dropped
        self._changed.set()

    async def lines(self) -> AsyncIterator[str]:
        """Every line that was not dropped, until the last holder of the pipe is gone."""
        while True:
            if self._untold:
                told, self._untold = self._untold, 0
                yield f"[{told} lines dropped: they came faster than they were taken]"
            elif self._lines:
                yield self._lines.take()
            elif self._ended:
                return
            else:
                self._changed.clear()
                await self._changed.wait()

    def last(self, count: int) -> list[str]:
        """The newest lines that nobody has taken yet, for a message about why a process ended."""
        return [line for line in list(self._lines)[-count:] if line.strip()]
