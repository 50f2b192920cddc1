"""The head that the balancer writes for a replica. Pure.

Header fields travel as bytes, in their order and spelling. What belongs to one connection only stays behind (RFC 9110,
section 7.6.1); what the balancer adds is listed here and nowhere else.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

RawHeaders = Sequence[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
# Connection may not name these: without them a message means something else.
NEVER_NOMINATED = frozenset({b"host", b"content-length"})
# Expect is between the client and the balancer, which answers it; X-Forwarded-For is written anew.
_NOT_FORWARDED = HOP_BY_HOP | {b"expect", b"x-forwarded-for"}
# How a proxy says by whom, and under which name, it was reached. LiteLLM believes it of whoever sends it.
_PROXYS_WORD = b"x-forwarded-"
_NOT_FROM_CLIENTS = _NOT_FORWARDED | {b"forwarded", b"x-real-ip"}
_REQUEST_ID_LIMIT = 200
_PRINTABLE = frozenset((string.ascii_letters + string.digits + string.punctuation).encode())


@dataclass(frozen=True, slots=True)
class Credential:
    """A header field with the pool's key. Without a repr, so that it cannot reach a log."""

    name: bytes
    value: bytes

    def __repr__(self) -> str:
        return "Credential(…)"


def request_opening(
    method: bytes,
    target: bytes,
    headers: RawHeaders,
    *,
    client: str,
    chunked: bool,
    identified: bool = False,
    proxied: bool = False,
    upgrade: bytes | None = None,
) -> tuple[bytes, bytes]:
    """What the replica gets of a head whenever it is sent; `request_head` adds what differs from request to request.

    All before the digits of the Content-Length, and all behind them. `target` goes as it came, byte for byte. What only
    a proxy can know is left out unless it was `proxied` by one that is listed. The first X-Request-ID is kept where the
    client `identified` its request by it.
    """
    dropped = _dropped(_NOT_FORWARDED if proxied else _NOT_FROM_CLIENTS, headers)
    lines = [method, b" ", target, b" HTTP/1.1\r\n"]
    before = b""
    hosted = False
    for name, value in headers:
        lowered = name.lower()
        if lowered in dropped or (not proxied and lowered.startswith(_PROXYS_WORD)):
            continue
        if lowered == b"host":
            hosted = True
        elif lowered == b"content-length":
            before = b"".join((*lines, name, b": "))
            lines = [b"\r\n"]
            continue
        elif lowered == b"x-request-id":
            if not identified:
                continue
            identified = False
        lines += (name, b": ", value, b"\r\n")
    if not hosted:
        lines.append(b"host: localhost\r\n")  # HTTP/1.0 need not have one, HTTP/1.1 must
    if chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    if upgrade is not None:
        lines += (b"connection: upgrade\r\nupgrade: ", upgrade, b"\r\n")
    if client:
        lines += (b"x-forwarded-for: ", client.encode("ascii", "replace"), b"\r\n")
    rest = b"".join(lines)
    return (before, rest) if before else (rest, b"")


def request_head(
    opening: tuple[bytes, bytes],
    *,
    length: int | None,
    request_id: str | None = None,
    credential: Credential | None = None,
) -> bytes:
    """The request as the replica gets it. `length` is that of a body whose length is announced.

    `request_id` is one that the client has not sent.
    """
    before, after = opening
    digits = b"" if length is None else b"%d" % length
    own = b"" if request_id is None else b"x-request-id: %b\r\n" % request_id.encode()
    key = b"" if credential is None else b"%b: %b\r\n" % (credential.name, credential.value)
    return b"%b%b%b%b%b\r\n" % (before, digits, after, own, key)


def repeatable_id(sent: bytes) -> str | None:
    """The client's own request id, where it can be repeated safely in logs and headers."""
    return sent.decode("ascii") if 0 < len(sent) <= _REQUEST_ID_LIMIT and _PRINTABLE.issuperset(sent) else None


def new_request_id() -> str:
    return f"{random.getrandbits(128):032x}"


def _dropped(always: frozenset[bytes], headers: RawHeaders) -> frozenset[bytes] | set[bytes]:
    nominated: set[bytes] = set()
    for name, value in headers:
        if len(name) == len("connection") and name.lower() == b"connection":
            nominated.update(_tokens(value))
    return always | (nominated - NEVER_NOMINATED) if nominated - always else always


def _tokens(value: bytes) -> Iterable[bytes]:
    return (token.strip().lower() for token in value.split(b","))
