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
_PRINTABLE = frozenset(string.ascii_letters + string.digits + string.punctuation)


@dataclass(frozen=True, slots=True)
class Credential:
    """A header field with the pool's key. Without a repr, so that it cannot reach a log."""

    name: bytes
    value: bytes

    def __repr__(self) -> str:
        return "Credential(…)"


def request_head(
    method: str,
    target: str,
    headers: RawHeaders,
    *,
    client: str,
    request_id: str,
    chunked: bool,
    credential: Credential | None,
    proxied: bool = False,
    upgrade: bytes | None = None,
) -> bytes:
    """The request as the replica gets it. `target` goes as it came, byte for byte.

    `credential` is added unless the request has a field of that name: what a client brings is never replaced. What only
    a proxy can know is left out unless it was `proxied` by one that is listed.
    """
    dropped = _dropped(_NOT_FORWARDED if proxied else _NOT_FROM_CLIENTS, headers)
    lines = [method.encode("ascii"), b" ", target.encode("utf-8", "surrogateescape"), b" HTTP/1.1\r\n"]
    sent_id = request_id.encode("ascii", "replace")
    identified = hosted = False
    given = credential is None
    for name, value in headers:
        lowered = name.lower()
        if lowered in dropped or (not proxied and lowered.startswith(_PROXYS_WORD)):
            continue
        if lowered == b"host":
            hosted = True
        elif lowered == b"x-request-id":
            if identified or value != sent_id:
                continue
            identified = True
        elif credential is not None and lowered == credential.name.lower():
            given = True
        lines += (name, b": ", value, b"\r\n")
    if not hosted:
        lines.append(b"host: localhost\r\n")  # HTTP/1.0 need not have one, HTTP/1.1 must
    if chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    if upgrade is not None:
        lines += (b"connection: upgrade\r\nupgrade: ", upgrade, b"\r\n")
    if client:
        lines += (b"x-forwarded-for: ", client.encode("ascii", "replace"), b"\r\n")
    if not identified:
        lines += (b"x-request-id: ", sent_id, b"\r\n")
    if credential is not None and not given:
        lines += (credential.name, b": ", credential.value, b"\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def request_id_of(sent: str | None) -> str:
    """The client's own request id where it can be repeated safely in logs and headers, else a new one."""
    if sent and len(sent) <= _REQUEST_ID_LIMIT and _PRINTABLE.issuperset(sent):
        return sent
    return f"{random.getrandbits(128):032x}"


def _dropped(always: frozenset[bytes], headers: RawHeaders) -> frozenset[bytes] | set[bytes]:
    nominated: set[bytes] = set()
    for name, value in headers:
        if len(name) == len("connection") and name.lower() == b"connection":
            nominated.update(_tokens(value))
    return always | (nominated - NEVER_NOMINATED) if nominated - always else always


def _tokens(value: bytes) -> Iterable[bytes]:
    return (token.strip().lower() for token in value.split(b","))
