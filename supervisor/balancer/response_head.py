"""A response's head: what a gateway has to know of it, and what the client gets of it. Pure.

It is looked through, never taken apart: nearly all of it is passed on as it came, in its order and spelling. What
belongs to one connection only stays behind (RFC 9110, section 7.6.1); what the balancer adds is listed here.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from supervisor.balancer.headers import HOP_BY_HOP, NEVER_NOMINATED

_LENGTHLESS = frozenset({101, 204})  # RFC 9110, section 8.6


def _named(names: Iterable[bytes]) -> bytes:
    """An expression for any of these names, in whatever case. By their first letters, for by one set of characters most
    names are told from all of these at once.
    """
    by_initial: dict[bytes, list[bytes]] = {}
    for name in sorted(names):
        by_initial.setdefault(name[:1], []).append(re.escape(name[1:]))
    return b"|".join(
        b"[%b%b](?i:%b)" % (re.escape(initial.upper()), re.escape(initial), b"|".join(rest))
        for initial, rest in by_initial.items()
    )


# Of fields that are well-formed, each with the CR LF before it: those that matter to a gateway.
_MARKED = re.compile(rb"(\r\n(" + _named({*HOP_BY_HOP, b"content-length", b"x-request-id"}) + rb"):[\t ]*+([^\r]*+))")
_OF_THE_BODY = re.compile(rb"\r\n(" + _named({b"content-type", b"content-encoding"}) + rb"):[\t ]*+([^\r]*+)")
_NO_NOMINATION = HOP_BY_HOP | NEVER_NOMINATED | {b"close"}  # what is left out anyway, or never, or is no field
_LONGEST_LENGTH = 18  # digits: what a signed 64 bit number surely holds


class Framing(enum.Enum):
    """How the end of a body is told."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


# Until Python 3.12, looking up an enum's member in its class is a call, and this happens several times for each answer.
NONE, LENGTH, CHUNKED, CLOSE = Framing


class BadResponse(Exception):
    """This is no answer that can be passed on; the text says why."""


@dataclass(slots=True)
class ResponseHead:
    """A status line, and the header section as it was sent, each field with the CR LF before it.

    `length` is the body's, where it was announced; `bodiless`, that it has none whatever the fields say: a response to
    HEAD, 204, 304, 101. `hop_by_hop` are those fields that are, `options` what Connection says, `closes` whether it
    says that, `identified` whether there is a request id.
    """

    status: int
    reason: bytes
    fields: bytes
    length: int | None = None
    chunked: bool = False
    bodiless: bool = False
    hop_by_hop: tuple[bytes, ...] = ()
    identified: bool = False
    closes: bool = False
    options: tuple[bytes, ...] = ()
    upgrades: tuple[bytes, ...] = ()

    @classmethod
    def read(cls, status: int, reason: bytes, fields: bytes) -> ResponseHead:
        """Of fields that are well-formed. Raises BadResponse where they do not say clearly where the body ends."""
        head = cls(status, reason, fields)
        for field, name, sent in _MARKED.findall(fields):
            lowered = name.lower()
            if lowered == b"content-length":
                digits = sent.rstrip(b"\t ")
                if head.length is not None or not digits.isdigit() or len(digits) > _LONGEST_LENGTH:
                    raise BadResponse("its length is not one number")
                head.length = int(digits)
                continue
            if lowered == b"x-request-id":
                head.identified = True
                continue
            head.hop_by_hop += (field,)
            if lowered == b"transfer-encoding":
                if head.chunked or sent.rstrip(b"\t ").lower() != b"chunked":
                    raise BadResponse("the only transfer coding that is understood is chunked")
                head.chunked = True
            elif lowered == b"connection":
                head.options += _elements(sent)
                head.closes = b"close" in head.options
            elif lowered == b"upgrade":
                head.upgrades += _elements(sent)
        if head.chunked and head.length is not None:
            raise BadResponse("it is chunked, and has a length")
        if head.identified and b"x-request-id" in head.options:
            head.identified = False  # that one stays behind
        return head

    @property
    def until_close(self) -> bool:
        return not (self.bodiless or self.chunked or self.length is not None)

    @property
    def switches_to_websocket(self) -> bool:
        return self.status == 101 and self.upgrades == (b"websocket",) and b"upgrade" in self.options

    @property
    def is_event_stream(self) -> bool:
        """Whether its body comes in events that can be told apart as they are."""
        if not self.chunked:
            return False
        found = {name.lower(): value.strip(b"\t ").lower() for name, value in _OF_THE_BODY.findall(self.fields)}
        kind = found.get(b"content-type", b"").partition(b";")[0].rstrip(b"\t ")
        return kind == b"text/event-stream" and found.get(b"content-encoding", b"") in {b"", b"identity"}

    def framing(self, *, http_1_0: bool) -> Framing:
        """How its end is told to this client: as the replica told it, where that can be."""
        if self.bodiless:
            return NONE
        if self.length is not None:
            return LENGTH
        return CLOSE if http_1_0 else CHUNKED

    def end_to_end(self, *, length: bool) -> bytes:
        """The fields that are for the client: without what belongs to the connection, or a length."""
        fields = self.fields
        if _NO_NOMINATION.issuperset(self.options) and (length or self.length is None):
            for field in self.hop_by_hop:  # up to its end, and not one that only begins like it
                fields = (fields + b"\r\n").replace(field + b"\r\n", b"\r\n")[:-2]
            return fields
        return _fields_named(frozenset(self.options) - _NO_NOMINATION, length=not length).sub(b"", fields)


def response_head(
    response: ResponseHead,
    *,
    framing: Framing,
    slot: int,
    request_id: str,
    keep_alive: bool,
    http_1_0: bool,
    upgrade: bytes | None = None,
) -> bytes:
    """The response as the client gets it; the replica's Date and Server are the only ones."""
    told = (framing is LENGTH or framing is NONE) and response.status not in _LENGTHLESS
    fields = response.end_to_end(length=told)
    added = b"\r\nx-litesup-replica: %d" % slot
    if not response.identified:
        added += b"\r\nx-request-id: " + request_id.encode()
    if framing is CHUNKED:
        added += b"\r\ntransfer-encoding: chunked"
    if upgrade is not None:
        added += b"\r\nconnection: upgrade\r\nupgrade: " + upgrade
    elif not keep_alive:
        added += b"\r\nconnection: close"
    elif http_1_0:
        added += b"\r\nconnection: keep-alive"
    return b"HTTP/1.1 %d %b%b%b\r\n\r\n" % (response.status, response.reason, fields, added)


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def interim_head(response: ResponseHead) -> bytes:
    """An interim response as the client gets it: RFC 9110, section 15.2, has it end with its head."""
    fields = response.end_to_end(length=False)
    return b"HTTP/1.1 %d %b%b\r\n\r\n" % (response.status, response.reason, fields)


@functools.lru_cache(maxsize=16)
def _fields_named(nominated: frozenset[bytes], *, length: bool) -> re.Pattern[bytes]:
    """What is left out: hop-by-hop fields, those that Connection names besides, and a length or not."""
    names = HOP_BY_HOP | nominated | ({b"content-length"} if length else set())
    return re.compile(rb"\r\n(?:" + _named(names) + rb"):[^\r]*+")


@functools.lru_cache(maxsize=64)
def _elements(value: bytes) -> tuple[bytes, ...]:
    """The members of a list, in lower case. The same ones come again and again."""
    return tuple(element for part in value.lower().split(b",") if (element := part.strip(b"\t ")))
