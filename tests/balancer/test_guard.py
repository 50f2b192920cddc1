"""The guard: what passes, what is refused, and that the split of the bytes changes neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.balancer import guard as guards
from supervisor.balancer import refusals
from supervisor.balancer.grammar import Limits
from supervisor.balancer.guard import STAND_IN, Guard
from supervisor.policy.access import Refusal

LIMITS = Limits(head=2048, target=512, body=1000)
GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET /v1/realtime HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def passed(*pieces: bytes, limits: Limits = LIMITS) -> tuple[bytes, list[Refusal | None]]:
    guard = Guard(limits)
    out = b"".join(passed for piece in pieces for passed in guard.feed(piece))
    return out, [message.refusal for message in guard.messages]


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def test_what_is_well_formed_passes_as_it_is_and_a_body_is_not_even_copied():
    data = POST + b"Content-Length: 5\r\n\r\nhello"
    assert Guard(LIMITS).feed(data) == [data]
    big = b"x" * 100
    guard = Guard(LIMITS)
    guard.feed(POST + b"Content-Length: 1000\r\n\r\n")
    assert guard.feed(big)[0] is big


def test_pipelined_requests_are_told_apart():
    data = GET + POST + b"Content-Length: 4\r\n\r\n\r\n\r\n" + GET
    for pieces in ([data], bytewise(data)):
        assert passed(*pieces) == (data, [None, None, None])
    assert [len(message) for message in Guard(LIMITS).feed(data)] == [len(GET), len(data) - 2 * len(GET), len(GET)]


def test_extensions_and_trailers_are_left_out():
    data = CHUNKED + b'5;a=b;c="d;\\"e"\r\nhello\r\n0;last\r\nX-Trailer: 1\r\nY: 2\r\n\r\n' + GET
    for pieces in ([data], bytewise(data)):
        assert passed(*pieces) == (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + GET, [None, None])


def test_an_absolute_form_becomes_a_path():
    data = b"GET http://H:80?q HTTP/1.1\r\nHost: h\r\n\r\n"
    assert passed(data) == (b"GET /?q HTTP/1.1\r\nHost: h\r\n\r\n", [None])


def test_behind_a_refusal_and_behind_the_last_request_nothing_is_read():
    assert passed(b"GET /a\r\n" + GET) == (STAND_IN, [refusals.BAD_LINE])
    last = b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    assert passed(last + GET) == (last, [None])
    assert passed(b"GET /a HTTP/1.0\r\n\r\n" + GET) == (b"GET /a HTTP/1.0\r\n\r\n", [None])


def test_a_refusal_within_a_body_is_told_to_whoever_reads_it():
    guard = Guard(LIMITS)
    assert guard.feed(CHUNKED + b"5\r\nhel") == [CHUNKED + b"5\r\nhel"]
    told: list[Refusal] = []
    guard.messages[0].when_refused(told.append)
    assert guard.feed(b"lo\r\nnonsense") == [b"lo\r\n"]
    assert told == [refusals.BAD_CHUNK]
    assert guard.over


def test_what_comes_behind_a_request_for_a_websocket_waits_for_its_answer():
    guard = Guard(LIMITS)
    assert guard.feed(UPGRADE + GET) == [UPGRADE]
    assert guard.declined() == [GET]
    guard = Guard(LIMITS)
    assert guard.feed(UPGRADE + b"\x00\x01") == [UPGRADE]
    assert guard.switched() == [b"\x00\x01"]
    assert guard.feed(b"\x81") == [b"\x81"]
    guard = Guard(LIMITS)
    guard.feed(UPGRADE)
    guard.feed(b"x" * (guards.MOST_HELD + 1))
    assert guard.over


def test_a_head_that_has_begun_is_known_as_such():
    guard = Guard(LIMITS)
    assert not guard.within_head
    for piece in bytewise(GET)[:-1]:
        guard.feed(piece)
        assert guard.within_head
    guard.feed(b"\n")
    assert not guard.within_head
    guard.feed(b"G")
    assert guard.refuse(refusals.SLOW_HEAD) == [STAND_IN]
    assert guard.messages[-1].refusal is refusals.SLOW_HEAD


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"GET /" + b"a" * 511 + b" HTTP/1.1\r\nHost: h\r\n\r\n", None),
        (b"GET /" + b"a" * 512 + b" HTTP/1.1\r\nHost: h\r\n\r\n", refusals.LONG_TARGET),
        (b"GET /" + b"a" * 5000, refusals.LONG_TARGET),
        (GET[:-2] + b"A: " + b"b" * (2048 - len(GET) - 5) + b"\r\n\r\n", None),
        (GET[:-2] + b"A: " + b"b" * (2048 - len(GET) - 4) + b"\r\n\r\n", refusals.LONG_HEAD),
        (GET[:-2] + b"A: b\x00" + b"b" * 5000, refusals.BAD_BYTE),
        (GET[:-2] + b"A: " + b"b" * 2048 + b"\x00", refusals.LONG_HEAD),
        (POST + b"Content-Length: 1000\r\n\r\n", None),
        (POST + b"Content-Length: 1001\r\n\r\n", refusals.LONG_BODY),
        (CHUNKED + b"3e8\r\n", None),
        (CHUNKED + b"3e9\r\n", refusals.LONG_BODY),
        (CHUNKED + b"1;" + b"a" * 600, refusals.BAD_CHUNK),
        (CHUNKED + (b"1;" + b"a" * 400 + b"\r\nx\r\n") * 41, refusals.BAD_CHUNK),
        (CHUNKED + b"0\r\nA: " + b"b" * 2048, refusals.LONG_HEAD),
        (CHUNKED + b"0\r\nA : b\r\n", refusals.BAD_FIELD),
        (CHUNKED + b"0\r\nA: b\n", refusals.BAD_BYTE),
    ],
)
def test_limits_are_exact_whatever_the_split(data, refusal):
    for pieces in ([data], bytewise(data), [data[:50], data[50:]]):
        _, (said,) = passed(*pieces)
        assert said is refusal


def test_a_bare_lf_is_one_even_behind_a_body_that_ends_with_cr():
    first = POST + b"Content-Length: 5\r\n\r\nhell\r"
    for pieces in ([first + b"\n" + GET], [first, b"\n" + GET], bytewise(first + b"\n" + GET)):
        assert passed(*pieces) == (first + STAND_IN, [None, refusals.BAD_BYTE])


FRAGMENTS = [
    *(GET, POST, CHUNKED, UPGRADE, b"GET http://h/ HTTP/1.1\r\n", b"\r\n", b"\r", b"\n", b"\x00", b" ", b":", b"Host: h\r\n"),
    *(b"Content-Length: 5\r\n\r\nhello", b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\n", b"5;x=y\r\n", b"ffffffffffffffff\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"A" * 600, b"GET", b" / HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n"),
]  # fmt: skip


@given(st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=3)), max_size=12), st.data())
def test_the_split_changes_nothing(fragments, choice):
    data = b"".join(fragments)
    whole = passed(data)
    cuts = sorted(choice.draw(st.sets(st.integers(0, len(data)), max_size=8)))
    assert passed(*(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True))) == whole
    assert passed(*bytewise(data)) == whole
