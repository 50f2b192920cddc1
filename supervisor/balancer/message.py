"""One request as the guard hands it on: what was read of its head, and its body as it comes. Sans-IO.

The guard puts in, whoever answers takes out, and the connection watches how much lies between them.
"""

from __future__ import annotations

from collections.abc import Callable

from supervisor.balancer.grammar import Head, Line
from supervisor.policy.access import Refusal

SMALL_BODY = 64 * 1024
"""Bytes up to which a body is waited for before a replica is asked."""


class Message:
    """One request on its way in: its head, or why it is refused. A body may be refused after its head was handed on.

    `unread` is how many bytes of the body are here and have not been taken; `complete`, that no more will come.
    """

    __slots__ = (
        "_nobodys",
        "_on_more",
        "_on_read",
        "_pieces",
        "complete",
        "head",
        "length",
        "line",
        "refusal",
        "unread",
    )

    def __init__(
        self,
        head: Head | None,
        length: int = 0,
        body: bytes | None = None,
        *,
        refusal: Refusal | None = None,
        line: Line | None = None,
    ) -> None:
        """`length` is that of the body, where it is not chunked; `body` is all of it, where that is here already."""
        self.head = head
        self.length = length
        self.refusal = refusal
        self.line = line if head is None else head.line
        self.complete = body is not None
        self._pieces: list[bytes] = [body] if body else []
        self.unread = length if body else 0
        self._nobodys = False
        self._on_more: Callable[[], None] | None = None
        self._on_read: Callable[[], None] | None = None

    # What the guard does.

    def add(self, piece: bytes) -> None:
        """More of the body, without its framing."""
        if self._nobodys:
            return
        self._pieces.append(piece)
        self.unread += len(piece)
        self._tell()

    def end(self) -> None:
        """That was all."""
        self.complete = True
        self._tell()

    def refuse(self, refusal: Refusal) -> None:
        """The rest of the body is not what it should be."""
        self.refusal = refusal
        self._tell()

    # What whoever answers it does.

    def read(self) -> bytes:
        """What has come of the body since the last time."""
        pieces = self._pieces
        if not pieces:
            return b""
        self._pieces = []
        self.unread = 0
        on_read, self._on_read = self._on_read, None
        if on_read is not None:
            on_read()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def discard(self) -> None:
        """Nobody wants the body any more: what is here goes, and what comes is not kept."""
        self._nobodys = True
        self._on_more = None
        self.read()

    def when_more(self, act: Callable[[], None] | None) -> None:
        """`act` is called whenever more has come, all of it has, or the rest is refused; None: nobody waits."""
        self._on_more = act

    def when_read(self, act: Callable[[], None]) -> None:
        """`act` is called once, as soon as what is here has been taken."""
        self._on_read = act

    def _tell(self) -> None:
        if self._on_more is not None:
            self._on_more()
