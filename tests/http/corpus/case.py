"""One hostile or unusual request, and what has to become of it. Values only.

`sent` is what a client writes on one connection. `passed` lists the requests that arrive at the replica, heads byte for
byte (less what the balancer adds to every request: X-Forwarded-For and X-Request-Id) and bodies without their framing.
`statuses` are the final responses, in their order. A request that is refused is the last of its connection.
"""

from __future__ import annotations

from dataclasses import dataclass

HOST = b"Host: localhost\r\n"
KEY = b"Authorization: Bearer sk-corpus\r\n"
END = b"\r\n"
GET = b"GET /v1/models HTTP/1.1\r\n" + HOST + KEY
POST = b"POST /v1/embeddings HTTP/1.1\r\n" + HOST + KEY
CHUNKED = b"Transfer-Encoding: chunked\r\n"
TOLD_CHUNKED = b"transfer-encoding: chunked\r\n"  # how the balancer writes it

# What the balancer of these tests is told: small, so that what is too long stays readable.
HEAD_LIMIT = 4096
TARGET_LIMIT = 1024
BODY_LIMIT = 50_000


@dataclass(frozen=True)
class Seen:
    """A request at the replica."""

    head: bytes
    body: bytes = b""


@dataclass(frozen=True)
class Case:
    name: str
    rfc: str
    sent: bytes
    statuses: tuple[int, ...]
    seen: tuple[Seen, ...]
    closed: bool

    def __str__(self) -> str:
        return self.name


def refused(name: str, rfc: str, sent: bytes, status: int = 400) -> Case:
    """Reaches no replica; answered once, and closed."""
    return Case(name, rfc, sent, (status,), (), closed=True)


def passed(
    name: str, rfc: str, sent: bytes, head: bytes | None = None, body: bytes = b"", *, closed: bool = False
) -> Case:
    """One request that arrives; `head` where it is not what was sent."""
    if head is None:
        head = sent[: len(sent) - len(body)]
    return Case(name, rfc, sent, (200,), (Seen(head, body),), closed)
