"""A head that was read once means the same the second time, and one that differs is read."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from supervisor.balancer.grammar import Head, Limits, Refused, read_fields, read_line
from supervisor.balancer.guard import Guard
from supervisor.balancer.message import Message
from supervisor.balancer.template import LONGEST, Template

LIMITS = Limits(head=200, target=100, body=10_000)
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\ncontent-length: 5\r\nX-A: 1\r\n\r\n"
LAST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\t12 \r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
HEADS = [POST, LAST, GET, CHUNKED]


def read(text: bytes) -> tuple[Head, int] | None:
    """The whole of the text as a head."""
    line_end, end = text.find(b"\r\n"), text.find(b"\r\n\r\n")
    if end + 4 != len(text) or len(text) > LIMITS.head:
        return None
    try:
        return read_fields(text, line_end, end + 2, read_line(text, 0, line_end, LIMITS), LIMITS)
    except Refused:
        return None


def template(text: bytes) -> Template:
    found = read(text)
    assert found is not None
    return Template(text, found[0], LIMITS)


@pytest.mark.parametrize("text", HEADS)
@pytest.mark.parametrize(("before", "after"), [(b"", b""), (b"abc", b"GET / HTTP/1.1\r\n\r\n"), (b"", b"\r\n\r\n")])
def test_the_same_head_is_known_again_wherever_it_stands(text: bytes, before: bytes, after: bytes):
    found = read(text)
    assert found is not None
    assert template(text).match(before + text + after, len(before)) == (len(before) + len(text), found[1])


@pytest.mark.parametrize(
    ("digits", "length"),
    [
        (b"0", 0),
        (b"0005", 5),
        (b"9999", 9999),
        (b"10001", None),
        (b"9" * 19, None),
        (b"0" * 18, 0),
        (b"0" * 19, None),
        (b"", None),
        (b"+5", None),
        (b"5 ", None),
        (b"5, 5", None),
        (b"5\r\nContent-Length: 5", None),
        (b"\xd9\xa5", None),
    ],
)
def test_another_length_is_the_same_head_if_it_is_one(digits: bytes, length: int | None):
    text = POST.replace(b"5", digits)
    assert template(POST).match(text, 0) == (None if length is None else (len(text), length))


def test_a_head_that_became_too_long_by_its_length_is_not_known():
    filled = POST.replace(b"X-A: 1", b"X-A: " + b"1" * (LIMITS.head - len(POST) + 1))
    assert len(filled) == LIMITS.head
    assert template(filled).match(filled, 0) is not None
    assert template(filled).match(filled.replace(b": 5", b": 55"), 0) is None


@given(
    st.sampled_from(HEADS),
    st.lists(st.tuples(st.integers(0, 120), st.binary(max_size=3), st.integers(0, 3)), max_size=3),
)
@example(POST, [(52, b"00", 0)])
def test_whatever_is_changed_what_is_known_is_what_reading_finds(text: bytes, edits: list[tuple[int, bytes, int]]):
    known = template(text)
    for at, put, taken in edits:
        text = text[:at] + put + text[at + taken :]
    found = known.match(text, 0)
    if found is not None:
        end, length = found
        assert read(text[:end]) == (known.head, length)


@given(st.lists(st.sampled_from([POST + b"hello", POST.replace(b"5", b"2") + b"hi", LAST + b"hello world!", GET,
    CHUNKED + b"1\r\nx\r\n0\r\n\r\n", CHUNKED + b"1;a\r\nx\r\n0\r\nT: 1\r\n\r\n", POST + b"hel", b"\r\n" + GET, b"\n", b"GET /", POST.replace(b"5", b"05")]), max_size=8),
    st.data())  # fmt: skip
def test_a_connection_that_repeats_itself_is_read_as_one_that_does_not(requests: list[bytes], data: st.DataObject):
    stream = b"".join(requests)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=5)))
    pieces = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    guard, forgetful = Guard(LIMITS), Guard(LIMITS)
    messages = [message for piece in pieces for message in guard.feed(piece)]
    expected: list[Message] = []
    for at in range(len(stream)):
        forgetful._template = None
        expected += forgetful.feed(stream[at : at + 1])
    assert list(map(shown, messages)) == list(map(shown, expected))


def shown(message: Message) -> tuple[object, ...]:
    return message.head, message.length, message.refusal, message.complete, message.read()


def test_what_repeats_itself_is_read_once_and_a_whole_body_comes_with_it():
    guard = Guard(LIMITS)
    bodies = (b"hello", b"again", b"", b"\r\n" * 60)
    messages = [message for body in bodies for message in guard.feed(POST.replace(b"5", b"%d" % len(body)) + body)]
    assert all(message.head is messages[0].head for message in messages)
    assert all(message.complete for message in messages)
    assert [message.read() for message in messages] == list(bodies)
    (half,) = guard.feed(POST + b"hel")
    assert half.head is messages[0].head
    assert not half.complete


def test_a_long_head_is_not_kept_while_a_connection_idles():
    limits = Limits(head=LONGEST * 2, target=100)
    guard = Guard(limits)
    long = GET[:-2] + b"Cookie: " + b"x" * LONGEST + b"\r\n\r\n"
    (first,), (second,) = guard.feed(long), guard.feed(long)
    assert first.head == second.head
    assert first.head is not second.head


WEBSOCKET = b"GET /v1/realtime HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_a_chunked_body_is_read_as_one_also_where_its_head_comes_alone_and_is_known():
    guard = Guard(LIMITS)
    guard.feed(CHUNKED + b"0\r\n\r\n")
    (message,) = guard.feed(CHUNKED)
    assert guard.receiving is message
    assert guard.feed(b"2\r\nhi\r\n0\r\n\r\n") == []
    assert shown(message)[-2:] == (True, b"hi")


def test_what_follows_a_known_request_for_a_websocket_is_kept():
    guard = Guard(LIMITS)
    guard.feed(WEBSOCKET)
    assert guard.declined() == []
    (message,) = guard.feed(WEBSOCKET)
    assert message.complete
    assert guard.feed(GET) == []
    assert guard.held == len(GET)


def test_behind_a_known_head_nothing_is_read_if_it_ends_its_connection():
    closing = GET[:-2] + b"Connection: close\r\n\r\n"
    guard = Guard(LIMITS)
    guard._template = template(closing)
    (message,) = guard.feed(closing)
    assert message.complete
    assert guard.over


def test_an_empty_line_before_a_known_head_is_forgiven_once():
    guard = Guard(LIMITS)
    guard.feed(GET)
    assert guard.feed(b"\r\n") == []
    assert guard.within_head
    (message,) = guard.feed(GET)
    assert message.complete
    assert guard.between()
    assert guard.feed(b"\r\n") == []
    (refused,) = guard.feed(b"\r\n" + GET)
    assert refused.refusal is not None
