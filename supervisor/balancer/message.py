"""One request as the guard hands it on: what was read of it, for whoever answers it."""

from __future__ import annotations

from collections.abc import Callable

from supervisor.balancer.grammar import Head, Line
from supervisor.policy.access import Refusal

SMALL_BODY = 64 * 1024
"""Bytes up to which a body that comes in one piece is handed out with its head: less than what aiohttp reads ahead."""


class Message:
    """One request on its way in: its head, or why it is refused. A body may be refused after its head was passed on."""

    __slots__ = ("_on_refusal", "body", "head", "length", "line", "refusal")

    def __init__(
        self, head: Head | None, length: int = 0, refusal: Refusal | None = None, line: Line | None = None
    ) -> None:
        """`length` is that of the body, where it is not chunked."""
        self.head = head
        self.length = length
        self.refusal = refusal
        self.line = line if head is None else head.line
        self.body: bytes | None = None  # all of it, where it is small and came in one piece
        self._on_refusal: Callable[[Refusal], None] | None = None

    def refuse(self, refusal: Refusal) -> None:
        self.refusal = refusal
        if self._on_refusal is not None:
            self._on_refusal(refusal)

    def when_refused(self, act: Callable[[Refusal], None] | None) -> None:
        """`act` is called once if the rest of the body is refused; None: nobody reads it any more."""
        self._on_refusal = act
