"""The head that the balancer writes for a replica."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.balancer.headers import Credential, new_request_id, repeatable_id, request_head, request_opening

KEY = Credential(b"Authorization", b"Bearer sk-pool")


def sent(*headers: tuple[bytes, bytes], credential: Credential | None = None, chunked: bool = False) -> list[bytes]:
    opening = request_opening(b"POST", b"/a%2Fb?c=d", headers, client="10.0.0.1", chunked=chunked)
    length = 66 if any(name.lower() == b"content-length" for name, _ in headers) else None
    head = request_head(opening, length=length, request_id="id-1", credential=credential)
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
    assert {b"Host: h", b"Content-Length: 66", b"x-forwarded-for: 10.0.0.1"} <= set(lines)


def test_there_is_exactly_one_address_in_x_forwarded_for():
    lines = sent((b"X-Forwarded-For", b"1.1.1.1"), (b"x-forwarded-for", b"2.2.2.2"))
    assert [line for line in lines if line.lower().startswith(b"x-forwarded-for")] == [b"x-forwarded-for: 10.0.0.1"]


def test_the_pools_key_is_added_once():
    assert [line for line in sent(credential=KEY) if b"sk-pool" in line] == [b"Authorization: Bearer sk-pool"]
    assert not [line for line in sent() if b"sk-pool" in line]
    assert "sk-pool" not in repr(KEY)


def test_the_request_id_is_told_once():
    for headers in ([], [(b"X-Request-Id", b"id-1")], [(b"X-Request-Id", b"other\x01"), (b"x-request-ID", b"more")]):
        lines = [line for line in sent(*headers) if line.lower().startswith(b"x-request-id")]
        assert lines == [b"x-request-id: id-1"]
    own = [(b"A", b"1"), (b"X-Request-Id", b"mine"), (b"B", b"2"), (b"x-request-id", b"more")]
    opening = request_opening(b"GET", b"/", own, client="", chunked=False, identified=True)
    assert request_head(opening, length=None).split(b"\r\n")[1:4] == [b"A: 1", b"X-Request-Id: mine", b"B: 2"]
    assert request_head(opening, length=None).lower().count(b"x-request-id") == 1


@given(st.binary() | st.text().map(str.encode))
def test_a_request_id_is_always_short_and_printable(sent_id):
    own = repeatable_id(sent_id)
    assert own is None or own.encode() == sent_id
    for made in (own, new_request_id()):
        if made is not None:
            assert made.isascii()
            assert made.isprintable()
            assert " " not in made
            assert 0 < len(made) <= 200


def test_a_clients_own_request_id_is_kept():
    assert repeatable_id(b"trace-1.2/3") == "trace-1.2/3"
    assert repeatable_id(b"") is None
    assert repeatable_id(b"x" * 201) is None
    assert repeatable_id(b"a b") is None


def test_framing_is_told_once():
    lines = sent((b"Transfer-Encoding", b"chunked"), chunked=True)
    assert [line for line in lines if b"ength" in line or b"oding" in line] == [b"transfer-encoding: chunked"]


def test_the_length_is_told_where_the_client_told_it():
    lines = sent((b"A", b"1"), (b"content-LENGTH", b"5"), (b"B", b"2"))
    assert lines[1:4] == [b"A: 1", b"content-LENGTH: 66", b"B: 2"]
    assert not [line for line in sent((b"A", b"1")) if b"ength" in line]
