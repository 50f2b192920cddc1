"""What a client sends, cut by the product's guard into requests, for a front that has no server library behind it.

The guard has judged every byte before this looks at one, so a head can be taken apart with one pattern, and a body that
comes in chunks by reading lines: what the guard passes on has no extensions, no trailers and whole lines only.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from supervisor.balancer.grammar import Head
from supervisor.balancer.guard import Guard, Message
from supervisor.policy.access import Refusal

_FIELD = re.compile(rb"([^:\r\n]++):[\t ]*+([^\r]*+)\r\n")
_TRAILING = re.compile(rb"[\t ]\r\n")

RawHeaders = list[tuple[bytes, bytes]]


class Fields:
    """Header fields by name in any case, as `policy.access` asks for them. Values are decoded when they are read."""

    __slots__ = ("_values",)

    def __init__(self, headers: RawHeaders) -> None:
        self._values: dict[str, list[bytes]] = {}
        values = self._values
        for name, value in headers:
            key = name.lower().decode("ascii")
            if key in values:
                values[key].append(value)
            else:
                values[key] = [value]

    def __contains__(self, name: object, /) -> bool:
        return name in self._values

    def getall(self, name: str, default: list[str], /) -> list[str]:
        values = self._values.get(name)
        return default if values is None else [value.decode("utf-8", "surrogateescape") for value in values]

    def get(self, name: str) -> str | None:
        values = self._values.get(name)
        return None if values is None else values[0].decode("utf-8", "surrogateescape")


class Incoming:
    """One request on its way in. `on_more` is called when more of its body has come, or when it is refused."""

    __slots__ = ("_left", "body", "complete", "head", "headers", "on_more", "refusal", "size")

    def __init__(self, head: Head | None, refusal: Refusal | None) -> None:
        self.head = head
        self.refusal = refusal
        self.headers: RawHeaders = []
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
            self.complete = self.size == self.head.length
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
        incoming = Incoming(head, message.refusal)
        if head is None:
            return incoming
        end = piece.index(b"\r\n\r\n") + 2
        incoming.headers = _fields(piece, piece.index(b"\r\n") + 2, end)
        if head.length or head.chunked:
            incoming.take(piece[end + 2 :])
            if not incoming.complete:
                message.when_refused(incoming.refuse)
                self._within = incoming
        else:
            incoming.complete = True
        return incoming


def _fields(data: bytes, begin: int, end: int) -> RawHeaders:
    found: RawHeaders = _FIELD.findall(data, begin, end)
    if _TRAILING.search(data, begin, end) is not None:
        return [(name, value.rstrip(b"\t ")) for name, value in found]
    return found
