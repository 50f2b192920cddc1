"""Is this the head of a request, and where does its body end? RFC 9110 and 9112, read strictly. Pure.

What two programs could read differently is refused, never repaired: a request that the balancer and a replica take for
different things is how one client's bytes become another's request.

Possessive quantifiers throughout: no input makes a pattern here look twice at the same byte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from supervisor.balancer import refusals
from supervisor.balancer.refusals import METHODS
from supervisor.policy.access import Refusal

LONGEST_LENGTH = 18
"""Digits of a Content-Length: what a signed 64 bit number surely holds."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_TEXT = rb"[\t\x20-\x7e\x80-\xff]"

# Only what is a single class is matched possessively, no group: where one begins to match and then does not, Pythons
# before 3.11.5 take what was tried for matched (python/cpython#106052), and "5;" were the size of a chunk.

# RFC 9112, section 3: exactly one space between the parts. A target is what a URI may hold, less "#", and what some
# clients do not bother to encode; a byte that no URI can hold is none.
_LINE = re.compile(rb"(" + _TOKEN + rb"++) ([!-~]++) HTTP/([0-9])\.([0-9])")
# RFC 9110, section 5: no space before the colon; a line that begins with space would be a fold.
_FIELDS = re.compile(rb"(?:" + _TOKEN + rb"++:" + _TEXT + rb"*+\r\n)*")
_STRAY = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n|\Z)|(?<!\r)\n")
_FIELD = re.compile(rb"\r\n([^:\r\n]++):[\t ]*+([^\r\n]*+)")  # of what _FIELDS has passed
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*+)(.*+)")
# RFC 3986, section 3.2.2, without userinfo, and without the comma that would make a list of it.
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]++\]|(?:[A-Za-z0-9._~!$&'()*+;=\-]|%[0-9A-Fa-f]{2})+)(?::[0-9]{0,5})?",
)
_AROUND_TARGET = len("OPTIONS  HTTP/1.1")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes: of a whole head, of the target in it, and of a body; None for a body of any size."""

    head: int
    target: int
    body: int | None = None


class Line(NamedTuple):
    """A request line that can be served. `target` is a path or "*", and `authority` what an absolute form named."""

    method: bytes
    target: bytes
    authority: bytes | None
    http_1_0: bool

    def __repr__(self) -> str:
        """Without the query, which may hold a key."""
        return f"<Line: {self.method.decode()} {self.target.partition(b'?')[0].decode()}>"


Fields = Mapping[bytes, Sequence[bytes]]
"""Field values by name in lower case, each in the order in which they came."""


class Head(NamedTuple):
    """What a head says, but for the length of the body: of two that differ in nothing else, this is the same."""

    line: Line
    sent: Sequence[tuple[bytes, bytes]]  # its fields, names as they are spelt; Content-Length without its value
    fields: Fields  # without Content-Length
    hosted: bool  # has a Host of its own; to one that has none an absolute form's authority is given
    announced: bool  # has a Content-Length
    chunked: bool
    keep_alive: bool
    websocket: bool
    expects_continue: bool

    def __repr__(self) -> str:
        """Without fields: keys are among them."""
        return f"<Head: {self.line!r}>"


class Refused(Exception):
    """The request is not served. `line` is what is known of it."""

    def __init__(self, refusal: Refusal, line: Line | None = None) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.line = line


def stray(data: bytes | bytearray, begin: int, end: int) -> bool:
    """Whether these bytes hold one that no head may: a control character, or half of a CR LF.

    A CR at the very end may still become one.
    """
    return _STRAY.search(data, begin, end) is not None


def line_limit(limits: Limits) -> int:
    """How long a request line can be without its target being too long, whatever the method."""
    return limits.target + _AROUND_TARGET


def read_line(data: bytes | bytearray, begin: int, end: int, limits: Limits) -> Line:
    """The request line, without its CR LF. Raises Refused."""
    found = _LINE.fullmatch(data, begin, end)
    if found is None:
        raise Refused(refusals.BAD_LINE)
    method, target, major, minor = found.groups()
    if major != b"1" or minor not in {b"0", b"1"}:
        raise Refused(refusals.BAD_VERSION)
    if method not in _METHODS:
        raise Refused(refusals.BAD_METHOD if method in _NEVER else refusals.UNKNOWN_METHOD)
    if len(target) > limits.target:
        raise Refused(refusals.LONG_TARGET)
    authority = None
    if b"#" in target:
        raise Refused(refusals.BAD_TARGET)
    if target[:1] != b"/" and not (target == b"*" and method == b"OPTIONS"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            raise Refused(refusals.BAD_TARGET)
        authority, rest = absolute.groups()
        target = rest if rest[:1] == b"/" else b"/" + rest
    return Line(method, target, authority, http_1_0=minor == b"0")


def read_fields(data: bytes | bytearray, begin: int, end: int, line: Line, limits: Limits) -> tuple[Head, int]:
    """The head and the length of its body: from `begin`, the CR LF of the line, to `end`, after that of the last field.

    Raises Refused.
    """
    if _FIELDS.fullmatch(data, begin + 2, end) is None:
        raise Refused(refusals.BAD_FIELD, line)
    sent: list[tuple[bytes, bytes]] = []
    fields: dict[bytes, list[bytes]] = {}
    lengths: list[bytes] = []
    padded = data.find(b" \r\n", begin, end) >= 0 or data.find(b"\t\r\n", begin, end) >= 0
    for name, text in _FIELD.findall(data, begin, end):
        value = text.rstrip(b"\t ") if padded else text
        lowered = name.lower()
        if lowered == b"content-length":
            lengths.append(value)
            sent.append((name, b""))
            continue
        sent.append((name, value))
        if lowered in fields:
            if lowered in _ONCE:
                raise Refused(refusals.BAD_FIELD, line)
            fields[lowered].append(value)
        else:
            fields[lowered] = [value]
    if b"sec-websocket-key1" in fields:  # its handshake has a body that nothing announces
        raise Refused(refusals.BAD_FIELD, line)
    hosted = b"host" in fields
    _check_host(fields.get(b"host", []), line)
    if not hosted and line.authority is not None:
        sent.insert(0, (b"Host", line.authority))
        fields[b"host"] = [line.authority]
    # With its empty members: a list that is not written as everybody would is not guessed at.
    codings = [
        part.strip(b"\t ") for value in fields.get(b"transfer-encoding", ()) for part in value.lower().split(b",")
    ]
    length = _length(lengths, codings, line, limits)
    options = _elements(fields, b"connection")
    expectations = _elements(fields, b"expect")
    if expectations and not line.http_1_0 and any(expectation != b"100-continue" for expectation in expectations):
        raise Refused(refusals.BAD_EXPECTATION, line)
    head = Head(
        line,
        sent,
        fields,
        hosted=hosted,
        announced=bool(lengths),
        chunked=bool(codings),
        keep_alive=b"keep-alive" in options and b"close" not in options if line.http_1_0 else b"close" not in options,
        # RFC 9110, section 7.8: an Upgrade that Connection does not name is not one, and HTTP/1.0 has none.
        websocket=b"upgrade" in options
        and _elements(fields, b"upgrade") == [b"websocket"]
        and line.method == b"GET"
        and not line.http_1_0,
        expects_continue=bool(expectations) and not line.http_1_0,
    )
    return head, length


def read_length(digits: bytes, limits: Limits) -> int | None:
    """A Content-Length's value as a number; None for one that is refused."""
    if not digits.isdigit() or len(digits) > LONGEST_LENGTH:
        return None
    length = int(digits)
    return None if limits.body is not None and length > limits.body else length


# RFC 9110, section 5.3: what is no list stands once, or two programs go by different ones.
_ONCE = frozenset({
    b"content-location",
    b"content-range",
    b"content-type",
    b"etag",
    b"max-forwards",
    b"server",
    b"user-agent",
})  # fmt: skip
_METHODS = frozenset(method.encode() for method in METHODS)
_NEVER = frozenset({b"CONNECT", b"TRACE"})


def _check_host(hosts: list[bytes], line: Line) -> None:
    """RFC 9112, section 3.2. HTTP/1.0 did not know Host."""
    if len(hosts) > 1 or not (hosts or line.http_1_0):
        raise Refused(refusals.BAD_HOST, line)
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        raise Refused(refusals.BAD_HOST, line)
    if line.authority is not None and (
        _HOST.fullmatch(line.authority) is None or (hosts and _plain(line.authority) != _plain(hosts[0]))
    ):
        raise Refused(refusals.BAD_TARGET, line)


def _plain(authority: bytes) -> bytes:
    return authority.lower().removesuffix(b":80").removesuffix(b":")


def _length(lengths: list[bytes], codings: list[bytes], line: Line, limits: Limits) -> int:
    """RFC 9112, section 6: one of the two, and only in the form that everybody reads alike."""
    if len(lengths) > 1:
        raise Refused(refusals.BAD_LENGTH, line)
    if codings:
        if codings == [b"chunked"] and not lengths and not line.http_1_0:
            return 0
        # Section 6.3: where chunked is not the last one, nobody can tell where the body ends.
        clear = not lengths and not line.http_1_0 and codings[-1] == b"chunked" and codings.count(b"chunked") == 1
        raise Refused(refusals.UNKNOWN_CODING if clear else refusals.BAD_CODING, line)
    if not lengths:
        return 0
    length = read_length(lengths[0], limits)
    if length is None:
        too_long = lengths[0].isdigit() and limits.body is not None
        raise Refused(refusals.LONG_BODY if too_long else refusals.BAD_LENGTH, line)
    return length


def _elements(fields: Fields, name: bytes) -> list[bytes]:
    """The members of a list that may be spread over several fields, in lower case."""
    values = fields.get(name)
    if values is None:
        return []
    return [element for value in values for part in value.lower().split(b",") if (element := part.strip(b"\t "))]


# RFC 9112, section 7.1: a size, then extensions, which are read past: nobody here knows one.
_QUOTED = rb'"(?:[\t !\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_CHUNK = re.compile(
    rb"([0-9A-Fa-f]{1,16}+)((?:[\t ]*+;[\t ]*+" + _TOKEN + rb"++(?:[\t ]*+=[\t ]*+(?:" + _TOKEN + rb"++|" + _QUOTED
    + rb"))?)*)",
)  # fmt: skip
_CHUNK_BEGUN = re.compile(rb"[0-9A-Fa-f]{0,16}+(?:(?<=[0-9A-Fa-f])[\t ;]" + _TEXT + rb"*+)?\r?+")


def chunk_size(data: bytes | bytearray, begin: int, end: int) -> tuple[int, int] | None:
    """A chunk's size and the bytes of its extensions; None where this is not the line before a chunk."""
    found = _CHUNK.fullmatch(data, begin, end)
    return None if found is None else (int(found[1], 16), len(found[2]))


def may_become_chunk_size(data: bytes | bytearray, begin: int) -> bool:
    """Whether a line that has only begun can still turn out to be one."""
    return _CHUNK_BEGUN.fullmatch(data, begin) is not None


def are_fields(data: bytes | bytearray, begin: int, end: int) -> bool:
    """Whether these are whole field lines, as a trailer section has them."""
    return _FIELDS.fullmatch(data, begin, end) is not None
