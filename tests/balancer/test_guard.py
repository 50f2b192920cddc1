"""The guard: what passes, what is refused, and that the split of the bytes changes neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.balancer import refusals
from supervisor.balancer.grammar import Limits
from supervisor.balancer.guard import Guard
from supervisor.balancer.message import Message
from supervisor.policy.access import Refusal

LIMITS = Limits(head=2048, target=512, body=1000)
GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET /v1/realtime HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def fed(*pieces: bytes, limits: Limits = LIMITS) -> list[Message]:
    guard = Guard(limits)
    return [message for piece in pieces for message in guard.feed(piece)]


def passed(*pieces: bytes, limits: Limits = LIMITS) -> list[tuple[bytes, bytes] | Refusal]:
    """Of each message its target and its body, or why it is refused."""
    return [shown(message) for message in fed(*pieces, limits=limits)]


def shown(message: Message) -> tuple[bytes, bytes] | Refusal:
    if message.refusal is not None:
        return message.refusal
    assert message.head is not None
    return message.head.line.target, message.read()


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def test_what_is_well_formed_passes_and_a_body_is_not_even_copied():
    assert passed(POST + b"Content-Length: 5\r\n\r\nhello") == [(b"/a", b"hello")]
    big = b"x" * 100
    guard = Guard(LIMITS)
    (message,) = guard.feed(POST + b"Content-Length: 1000\r\n\r\n")
    assert guard.feed(big) == []
    assert message.read() is big
    assert guard.receiving is message


def test_a_message_is_complete_with_its_last_byte():
    for body in (b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"):
        *most, last = bytewise(POST + body)
        guard = Guard(LIMITS)
        (message,) = [message for piece in most for message in guard.feed(piece)]
        before = message.complete
        assert not guard.feed(last)
        assert (before, message.complete) == (False, True)
        assert guard.receiving is None


def test_pipelined_requests_are_told_apart():
    data = GET + POST + b"Content-Length: 4\r\n\r\n\r\n\r\n" + GET
    for pieces in ([data], bytewise(data)):
        assert passed(*pieces) == [(b"/a", b""), (b"/a", b"\r\n\r\n"), (b"/a", b"")]


def test_extensions_and_trailers_are_left_out():
    data = CHUNKED + b'5;a=b;c="d;\\"e"\r\nhello\r\n1\r\n!\r\n0;last\r\nX-Trailer: 1\r\nY: 2\r\n\r\n' + GET
    for pieces in ([data], bytewise(data)):
        assert passed(*pieces) == [(b"/a", b"hello!"), (b"/a", b"")]


def test_an_absolute_form_becomes_a_path():
    for version, host, sent in ((b"1.1", b"Host: h\r\n", b"h"), (b"1.0", b"", b"H:80")):
        (message,) = fed(b"GET http://H:80?q HTTP/" + version + b"\r\n" + host + b"\r\n")
        assert message.head is not None
        assert (message.head.line.target, message.head.sent) == (b"/?q", [(b"Host", sent)])


def test_behind_a_refusal_and_behind_the_last_request_nothing_is_read():
    assert passed(b"GET /b\r\n" + GET) == [refusals.BAD_LINE]
    assert passed(b"GET /b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + GET) == [(b"/b", b"")]
    assert passed(b"GET /b HTTP/1.0\r\n\r\n" + GET) == [(b"/b", b"")]


@pytest.mark.parametrize("name", [b"Content-Type", b"ETAG", b"user-agent", b"Server", b"max-forwards"])
def test_what_is_no_list_stands_once(name: bytes):
    once = name + b": a\r\n"
    assert passed(GET[:-2] + once + b"\r\n") == [(b"/a", b"")]
    assert passed(GET[:-2] + once + once + b"\r\n") == [refusals.BAD_FIELD]


def test_a_handshake_with_a_body_that_nothing_announces_is_refused():
    assert passed(UPGRADE[:-2] + b"Sec-WebSocket-Key1: 1\r\n\r\n12345678") == [refusals.BAD_FIELD]


def test_a_refusal_within_a_body_is_told_to_whoever_reads_it():
    guard = Guard(LIMITS)
    (message,) = guard.feed(CHUNKED + b"5\r\nhel")
    told: list[Refusal | None] = []
    message.when_more(lambda: told.append(message.refusal))
    assert guard.feed(b"lo\r\nnonsense") == []
    assert told == [None, refusals.BAD_CHUNK]
    assert message.read() == b"hello"
    assert guard.over


def test_what_comes_behind_a_request_for_a_websocket_waits_for_its_answer():
    guard = Guard(LIMITS)
    assert [shown(message) for message in guard.feed(UPGRADE + GET)] == [(b"/v1/realtime", b"")]
    assert guard.held == len(GET)
    assert [shown(message) for message in guard.declined()] == [(b"/a", b"")]
    assert guard.held == 0
    guard = Guard(LIMITS)
    guard.feed(UPGRADE + b"\x00\x01")
    assert guard.feed(b"\x02") == []
    assert guard.switched() == b"\x00\x01\x02"
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
    assert [shown(message) for message in guard.refuse(refusals.SLOW_HEAD)] == [refusals.SLOW_HEAD]
    assert not guard.within_head


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
        (message,) = fed(*pieces)
        assert message.refusal is refusal


def test_a_bare_lf_is_one_even_behind_a_body_that_ends_with_cr():
    first = POST + b"Content-Length: 5\r\n\r\nhell\r"
    for pieces in ([first + b"\n" + GET], [first, b"\n" + GET], bytewise(first + b"\n" + GET)):
        assert passed(*pieces) == [(b"/a", b"hell\r"), refusals.BAD_BYTE]


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
