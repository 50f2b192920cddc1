"""The head that the balancer writes for a replica."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.balancer.headers import Credential, request_head, request_id_of

KEY = Credential(b"Authorization", b"Bearer sk-pool")


def sent(*headers: tuple[bytes, bytes], credential: Credential | None = None, chunked: bool = False) -> list[bytes]:
    head = request_head(
        "POST", "/a%2Fb?c=d", headers, client="10.0.0.1", request_id="id-1", chunked=chunked, credential=credential
    )
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


def test_order_case_and_bytes_are_kept():
    headers = [(b"hOST", b"h"), (b"X-B", b"caf\xc3\xa9"), (b"X-A", b"1"), (b"x-a", b"2")]
    assert sent(*headers)[:5] == [
        b"POST /a%2Fb?c=d HTTP/1.1",
        b"hOST: h",
        b"X-B: caf\xc3\xa9",
        b"X-A: 1",
        b"x-a: 2",
    ]


@pytest.mark.parametrize(
    "name", [b"Connection", b"Keep-Alive", b"Proxy-Connection", b"TE", b"Trailer", b"Transfer-Encoding", b"Upgrade"]
)
def test_what_belongs_to_one_connection_stays_behind(name):
    assert not [line for line in sent((name, b"x")) if line.startswith(name + b":")]


def test_what_connection_names_stays_behind_but_never_what_gives_a_message_its_meaning():
    headers = [(b"Connection", b"close, X-Hop"), (b"x-hop", b"1"), (b"Host", b"h"), (b"Content-Length", b"5")]
    assert b"x-hop: 1" not in sent(*headers)
    nominated = [(b"connection", b"host, content-length, x-forwarded-for"), (b"Host", b"h"), (b"Content-Length", b"5")]
    lines = sent(*nominated)
    assert {b"Host: h", b"Content-Length: 5", b"x-forwarded-for: 10.0.0.1"} <= set(lines)


def test_there_is_exactly_one_address_in_x_forwarded_for():
    lines = sent((b"X-Forwarded-For", b"1.1.1.1"), (b"x-forwarded-for", b"2.2.2.2"))
    assert [line for line in lines if line.lower().startswith(b"x-forwarded-for")] == [b"x-forwarded-for: 10.0.0.1"]


def test_the_pools_key_is_added_once_and_never_beside_the_clients():
    assert b"Authorization: Bearer sk-pool" in sent(credential=KEY)
    assert b"Authorization: Bearer sk-pool" not in sent((b"authorization", b"Bearer mine"), credential=KEY)
    assert b"Authorization: Bearer sk-pool" not in sent()
    assert "sk-pool" not in repr(KEY)


def test_the_request_id_is_kept_or_made():
    assert b"X-Request-Id: id-1" in sent((b"X-Request-Id", b"id-1"))
    assert b"x-request-id: id-1" in sent()
    lines = sent((b"X-Request-Id", b"other\x01"))
    assert [line for line in lines if line.lower().startswith(b"x-request-id")] == [b"x-request-id: id-1"]


@given(st.text())
def test_a_request_id_is_always_short_and_printable(text):
    made = request_id_of(text)
    assert made.isascii()
    assert made.isprintable()
    assert " " not in made
    assert 0 < len(made) <= 200


def test_framing_is_told_once():
    lines = sent((b"Transfer-Encoding", b"chunked"), chunked=True)
    assert [line for line in lines if b"ncoding" in line] == [b"transfer-encoding: chunked"]
