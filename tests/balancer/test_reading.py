"""What is known of a request before it begins."""

from __future__ import annotations

from supervisor.balancer import reading
from supervisor.balancer.grammar import Limits
from supervisor.balancer.guard import Guard
from supervisor.policy.access import AccessRules, Asked

NOBODY = AccessRules.of(allow=(), trusted=(), proxies=(), hosts=())


def test_a_clients_key_is_in_no_repr():
    (message,) = Guard(Limits(head=4096, target=2048)).feed(
        b"GET /v1/models?key=sk-query HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer sk-field\r\n\r\n"
    )
    head = message.head
    assert head is not None
    read = reading.read(head, "127.0.0.1", NOBODY, frozenset())
    assert b"sk-field" in read.opening[0]
    asked = Asked("127.0.0.1", "GET", read.route, "key=sk-query", head.fields)
    for value in (message, head, head.line, read, asked):
        assert "sk-" not in repr(value)
    assert repr(head) == "<Head: <Line: GET /v1/models>>"
