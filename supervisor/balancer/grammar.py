"""Is this the head of a request, and where does its body end? RFC 9110 and 9112, read strictly. Pure.

What two programs could read differently is refused, never repaired: a request that the balancer and a replica take for
different things is how one client's bytes become another's request.

Possessive quantifiers throughout: no input makes a pattern here look twice at the same byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from supervisor.balancer import refusals
from supervisor.balancer.refusals import METHODS
from supervisor.policy.access import Refusal

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
_CONTROLS = re.compile(
    rb"\r\n(?i:(host|content-length|transfer-encoding|connection|upgrade|expect)):[\t ]*+([^\r]*+)",
)
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*+)(.*+)")
# RFC 3986, section 3.2.2, without userinfo, and without the comma that would make a list of it.
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]++\]|(?:[A-Za-z0-9._~!$&'()*+;=\-]|%[0-9A-Fa-f]{2})+)(?::[0-9]{0,5})?",
)
_LONGEST_LENGTH = 18  # digits: what a signed 64 bit number surely holds
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


class Head(NamedTuple):
    """What has to be known of a head for finding the next one, and for answering this one."""

    line: Line
    length: int  # of the body, where it is not chunked
    chunked: bool
    keep_alive: bool
    hosted: bool  # has a Host
    websocket: bool
    expects_continue: bool


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


def read_fields(data: bytes | bytearray, begin: int, end: int, line: Line, limits: Limits) -> Head:
    """The head, from its fields: from `begin`, where the CR LF of the line stands, to `end`, after that of the last.

    Raises Refused.
    """
    if _FIELDS.fullmatch(data, begin + 2, end) is None:
        raise Refused(refusals.BAD_FIELD, line)
    host: bytes | None = None
    length: bytes | None = None
    codings: list[bytes] = []
    options: list[bytes] = []
    upgrades: list[bytes] = []
    expectations: list[bytes] = []
    for name, sent in _CONTROLS.findall(data, begin, end):
        value = sent.rstrip(b"\t ")
        match len(name):
            case 4:
                if host is not None:
                    raise Refused(refusals.BAD_HOST, line)
                host = value
            case 14:
                if length is not None:
                    raise Refused(refusals.BAD_LENGTH, line)
                length = value
            case 17:
                # With its empty members: a list that is not written as everybody would is not guessed at.
                codings += [coding.strip(b"\t ") for coding in value.lower().split(b",")]
            case 10:
                options += _elements(value)
            case 7:
                upgrades += _elements(value)
            case _:
                expectations += _elements(value)
    _check_host(host, line)
    size = _size(length, codings, line, limits)
    if expectations and not line.http_1_0 and any(expectation != b"100-continue" for expectation in expectations):
        raise Refused(refusals.BAD_EXPECTATION, line)
    return Head(
        line,
        size,
        chunked=bool(codings),
        keep_alive=b"keep-alive" in options and b"close" not in options if line.http_1_0 else b"close" not in options,
        hosted=host is not None,
        # RFC 9110, section 7.8: an Upgrade that Connection does not name is not one, and HTTP/1.0 has none.
        websocket=upgrades == [b"websocket"] and b"upgrade" in options and line.method == b"GET" and not line.http_1_0,
        expects_continue=bool(expectations) and not line.http_1_0,
    )


_METHODS = frozenset(method.encode() for method in METHODS)
_NEVER = frozenset({b"CONNECT", b"TRACE"})


def _check_host(host: bytes | None, line: Line) -> None:
    """RFC 9112, section 3.2. HTTP/1.0 did not know Host."""
    if host is None:
        if not line.http_1_0:
            raise Refused(refusals.BAD_HOST, line)
    elif _HOST.fullmatch(host) is None:
        raise Refused(refusals.BAD_HOST, line)
    if line.authority is not None and (
        _HOST.fullmatch(line.authority) is None or (host is not None and _plain(line.authority) != _plain(host))
    ):
        raise Refused(refusals.BAD_TARGET, line)


def _plain(authority: bytes) -> bytes:
    return authority.lower().removesuffix(b":80").removesuffix(b":")


def _size(length: bytes | None, codings: list[bytes], line: Line, limits: Limits) -> int:
    """RFC 9112, section 6: one of the two, and only in the form that everybody reads alike."""
    if codings:
        if codings == [b"chunked"] and length is None and not line.http_1_0:
            return 0
        # Section 6.3: where chunked is not the last one, nobody can tell where the body ends.
        clear = length is None and not line.http_1_0 and codings[-1] == b"chunked" and codings.count(b"chunked") == 1
        raise Refused(refusals.UNKNOWN_CODING if clear else refusals.BAD_CODING, line)
    if length is None:
        return 0
    if not length.isdigit() or len(length) > _LONGEST_LENGTH:
        digits = length.isdigit() and limits.body is not None
        raise Refused(refusals.LONG_BODY if digits else refusals.BAD_LENGTH, line)
    size = int(length)
    if limits.body is not None and size > limits.body:
        raise Refused(refusals.LONG_BODY, line)
    return size


def _elements(value: bytes) -> list[bytes]:
    return [element for part in value.lower().split(b",") if (element := part.strip(b"\t "))]


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
