"""What goes on of the bytes that came, message by message. Sans-IO.

What lies next to one another is copied once, and what goes on as it came not at all.
"""

from __future__ import annotations


class Passage:
    """The outlet of one connection's guard."""

    __slots__ = ("_begin", "_data", "_done", "_end", "_message")

    def __init__(self) -> None:
        self._data = b""
        self._begin = self._end = 0  # what goes on of `_data` and has not been taken yet
        self._message: list[bytes] = []  # the pieces of the message that is being read
        self._done: list[bytes] = []  # the messages before it

    def span(self, data: bytes, begin: int, end: int) -> None:
        """These bytes go on as they are."""
        if begin != self._end or data is not self._data:
            self._take()
            self._data = data
            self._begin = begin
        self._end = end

    def insert(self, *pieces: bytes) -> None:
        """These go on in the place of what came."""
        self._take()
        self._message += pieces

    def set_apart(self) -> None:
        """What goes on from here is another message."""
        self._take()
        if self._message:
            self._done.append(_joined(self._message))
            self._message = []

    def collect(self) -> list[bytes]:
        """What has gone on since the last call, each message apart."""
        self.set_apart()
        done, self._done = self._done, []
        return done

    def _take(self) -> None:
        begin, end, data = self._begin, self._end, self._data
        if begin != end:
            self._message.append(data if begin == 0 and end == len(data) else data[begin:end])
        self._data = b""
        self._begin = self._end = 0


def _joined(pieces: list[bytes]) -> bytes:
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
