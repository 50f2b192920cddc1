"""What a client sends, cut by the product's guard into requests, for a front that has no server library behind it.

The guard has judged every byte before this looks at one, so a body that comes in chunks is read by lines: what the
guard passes on has no extensions, no trailers and whole lines only.
"""

from __future__ import annotations

from collections.abc import Callable

from supervisor.balancer.grammar import Head
from supervisor.balancer.guard import Guard
from supervisor.balancer.message import Message
from supervisor.policy.access import Refusal


class Incoming:
    """One request on its way in. `on_more` is called when more of its body has come, or when it is refused."""

    __slots__ = ("_left", "body", "complete", "head", "length", "on_more", "refusal", "size")

    def __init__(self, head: Head | None, length: int, refusal: Refusal | None) -> None:
        self.head = head
        self.length = length
        self.refusal = refusal
        self.body: list[bytes] = []  # not sent yet
        self.size = 0  # of the body so far
        self.complete = False
        self._left = 0  # of a chunk
        self.on_more: Callable[[], None] | None = None

    def take(self, data: bytes) -> None:
        """More of the body, as the guard passed it on."""
        assert self.head is not None
        if not self.head.chunked:
            self._add(data)
            self.complete = self.size == self.length
            return
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                self._add(piece)
                self._left -= len(piece)
                at += len(piece)
                continue
            end = data.index(b"\r\n", at)
            if end > at:  # and not what ends a chunk
                self._left = int(data[at:end], 16)
                if not self._left:
                    self.complete = True
                    return
            at = end + 2

    def refuse(self, refusal: Refusal) -> None:
        self.refusal = refusal
        self.told()

    def told(self) -> None:
        if self.on_more is not None:
            self.on_more()

    def _add(self, data: bytes) -> None:
        self.body.append(data)
        self.size += len(data)


class Reader:
    """One client's connection as requests."""

    __slots__ = ("_guard", "_within")

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._within: Incoming | None = None  # whose body is being read

    @property
    def between(self) -> bool:
        """Whether the next byte begins a request."""
        return self._within is None and not self._guard.within_head and not self._guard.over

    def feed(self, data: bytes) -> list[Incoming]:
        """Those requests of which the head has come with `data`."""
        messages = self._guard.messages
        begun: list[Incoming] = []
        for piece in self._guard.feed(data):
            within = self._within
            if within is None:
                begun.append(self._begin(messages.popleft(), piece))
                continue
            within.take(piece)
            if within.complete:
                self._within = None
            within.told()
        return begun

    def _begin(self, message: Message, piece: bytes) -> Incoming:
        head = message.head
        incoming = Incoming(head, message.length, message.refusal)
        if head is None:
            return incoming
        if message.body is not None:
            incoming.body = [message.body]
            incoming.size = message.length
            incoming.complete = True
        elif message.length or head.chunked:
            incoming.take(piece[piece.index(b"\r\n\r\n") + 4 :])
            if not incoming.complete:
                message.when_refused(incoming.refuse)
                self._within = incoming
        else:
            incoming.complete = True
        return incoming
