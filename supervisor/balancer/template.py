"""What a client says with each of its requests, so that it is read once.

On one connection the next head is mostly the last one again, with another Content-Length. What a head means does not
depend on those digits, so one that is equal but for them, byte for byte, is the same `Head`. Pure.
"""

from __future__ import annotations

import re

from supervisor.balancer.grammar import LONGEST_LENGTH, Head, Limits, read_length

LONGEST = 4 * 1024
"""Bytes of a head beyond which it is not kept: a connection without a request should weigh little."""

_LENGTH = re.compile(rb"\r\n(?i:content-length):[\t ]*+([0-9]++)")


class Template:
    """One head that has been read and found good, less the digits of its Content-Length, if it has one."""

    __slots__ = ("_after", "_before", "_limits", "head", "plain")

    def __init__(self, text: bytes, head: Head, limits: Limits) -> None:
        """`text` is the whole head, as it was sent, with the empty line at its end."""
        found = _LENGTH.search(text) if head.announced else None
        begin, end = found.span(1) if found is not None else (len(text), len(text))
        self._before, self._after = text[:begin], text[end:]
        self._limits = limits
        self.head = head
        self.plain = head.keep_alive and not head.chunked and not head.websocket
        """Whether behind the body, of a length that is told, there is another request."""

    def match(self, data: bytes, begin: int) -> tuple[int, int] | None:
        """Where the head that begins there ends, and the length of its body; None where it is another one.

        Also for one that could only be refused, or is not complete: that is for whoever reads it.
        """
        before = self._before
        if not data.startswith(before, begin):
            return None
        at = begin + len(before)
        if not self.head.announced:
            return at, 0
        after = self._after
        digits_end = data.find(after[:1], at, at + LONGEST_LENGTH + 1)
        end = digits_end + len(after)
        if digits_end < 0 or end - begin > self._limits.head or not data.startswith(after, digits_end):
            return None
        length = read_length(data[at:digits_end], self._limits)
        return None if length is None else (end, length)
