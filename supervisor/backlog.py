"""Lines that wait for somebody, or are kept: so many at most, and so many characters of them. The oldest go first.

By their number alone the memory would be whatever somebody writes: one line of a replica's may be 64 KiB long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Line = TypeVar("Line")


class Backlog(Generic[Line]):
    """`size` is how many characters one has. One that is longer than all may be together is held alone."""

    __slots__ = ("_characters", "_lines", "_most_characters", "_most_lines", "_size")

    def __init__(self, lines: int, characters: int, size: Callable[[Line], int]) -> None:
        self._most_lines = lines
        self._most_characters = characters
        self._size = size
        self._lines: deque[Line] = deque()
        self._characters = 0

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Line]:
        """Oldest first; of what there is at this moment."""
        return iter(tuple(self._lines))

    @property
    def half_full(self) -> bool:
        return 2 * len(self._lines) >= self._most_lines or 2 * self._characters >= self._most_characters

    def hold(self, lines: int) -> int:
        """At most so many from now on; how many went."""
        self._most_lines = lines
        return self._shrink()

    def put(self, line: Line) -> int:
        """Adds one; how many went for it."""
        self._lines.append(line)
        self._characters += self._size(line)
        return self._shrink()

    def take(self) -> Line:
        """The oldest. Raises IndexError where there is none."""
        line = self._lines.popleft()
        self._characters -= self._size(line)
        return line

    def clear(self) -> None:
        self._lines.clear()
        self._characters = 0

    def _shrink(self) -> int:
        gone = 0
        while len(self._lines) > self._most_lines or (
            self._characters > self._most_characters and len(self._lines) > 1
        ):
            self.take()
            gone += 1
        return gone
