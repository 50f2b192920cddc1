"""What a head means, under the rules that are in force: everything about a request that is settled before it begins.

Pure. A client that sends the same head again gets the same reading, so it is made once for each connection and not
once for each request: `Readings`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from supervisor.balancer.grammar import Fields, Head
from supervisor.balancer.headers import repeatable_id, request_opening
from supervisor.policy import access, retry
from supervisor.policy.access import AccessRules, Asked, Refusal
from supervisor.policy.routes import POOL_HEALTH_PATH, Kind, Route, classify


class Reading(NamedTuple):
    """`request_id` is the client's own; `client_timeout` is how many seconds it says that it waits."""

    method: str
    path: str
    route: Route
    health_path: str | None  # of the health document that is asked for: the balancer answers that by itself
    refusal: Refusal | None
    keyless: bool  # it gets the pool's credential
    request_id: str | None
    client_timeout: float
    opening: tuple[bytes, bytes]  # of what a replica gets, around its length

    def __repr__(self) -> str:
        """Without the opening, which holds the client's key."""
        return f"<Reading: {self.method} {self.path}>"


def read(head: Head, peer: str, rules: AccessRules, key_headers: frozenset[str]) -> Reading:
    """`peer` is the address that sent it, `key_headers` where replicas look for a key."""
    line = head.line
    method = line.method.decode("ascii")
    path, _, query = line.target.decode("ascii").partition("?")
    route = classify(method, path, websocket=head.websocket)
    asked = Asked(
        peer=peer,
        method=method,
        route=route,
        query=query,
        headers=head.fields,
        key_headers=_encoded(key_headers),
    )
    decision = access.decide(asked, rules)
    request_id = _own_id(head.fields)
    return Reading(
        method=method,
        path=path,
        route=route,
        health_path=_health_path(asked, path),
        refusal=decision.refusal,
        keyless=decision.verdict is access.Verdict.KEYLESS,
        request_id=request_id,
        client_timeout=retry.client_timeout(
            value for name in retry.TIMEOUT_HEADERS for value in head.fields.get(name, ())[:1]
        ),
        opening=request_opening(
            line.method,
            line.target,
            head.sent,
            client=decision.client,
            chunked=head.chunked,
            identified=request_id is not None,
            proxied=decision.proxied,
            upgrade=b"websocket" if head.websocket else None,
        ),
    )


class Readings:
    """Of one connection. The last one holds for the next request too, while head and rules are the very same."""

    __slots__ = ("_head", "_key_headers", "_last", "_peer", "_rules")

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self._head: Head | None = None
        self._rules: AccessRules | None = None
        self._key_headers: frozenset[str] | None = None
        self._last: Reading | None = None

    def of(self, head: Head, rules: AccessRules, key_headers: frozenset[str]) -> Reading:
        last = self._last
        if last is not None and self._head is head and self._rules is rules and self._key_headers is key_headers:
            return last
        self._head, self._rules, self._key_headers = head, rules, key_headers
        self._last = reading = read(head, self._peer, rules, key_headers)
        return reading


def _health_path(asked: Asked, path: str) -> str | None:
    """The pool's health is told to those without a credential; to others `/health` is LiteLLM's."""
    kind = asked.route.kind
    if kind is Kind.HEALTH:
        return path
    return POOL_HEALTH_PATH if kind is Kind.POOL_HEALTH and not access.has_credential(asked) else None


@functools.lru_cache(maxsize=16)
def _encoded(names: frozenset[str]) -> frozenset[bytes]:
    return frozenset(name.encode("ascii") for name in names)


def _own_id(fields: Fields) -> str | None:
    sent = fields.get(b"x-request-id")
    return None if sent is None else repeatable_id(sent[0])
