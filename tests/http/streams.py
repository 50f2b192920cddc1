"""Streams of bytes for the fuzzer: well-formed messages, messages with something wrong in them, and what is neither."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.http.corpus.case import KEY
from tests.http.corpus.fields import CASES as FIELDS
from tests.http.corpus.framing import CASES as FRAMING
from tests.http.corpus.request_line import CASES as LINES

SEEDS = [case.sent for case in (*LINES, *FIELDS, *FRAMING) if len(case.sent) < 1500]

_METHODS = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"HEAD", b"get", b"CONNECT", b"BREW", b""])
_TARGETS = st.sampled_from([
    *(b"/", b"/v1/models", b"/a%00b?c=d", b"*", b"http://localhost/", b"http://h:80/x", b"HTTP://LOCALHOST:80?q", b"//x//", b"x", b"/#"),
    *(b"http://a@localhost/", b"/" + b"a" * 1023, b"/" + b"a" * 1024, b"/\x80", b"/ ", b"http://", b"localhost:80", b"/\\..%2f"),
])  # fmt: skip
_VERSIONS = st.sampled_from(
    [b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b"HTTP/1.1 "]
)
_FIELDS = st.sampled_from([
    *(b"Host: localhost", b"Host: localhost:80", b"Host:h", b"Host: [::1]:8", b"Host: a, b", b"Host: a@b", b"hOST: localhost", b"Host:"),
    *(b"Content-Length: 5", b"Content-Length: 0", b"content-length:5", b"Content-Length: +5", b"Content-Length: 5, 5", b"Content-Length: 50001"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"transfer-encoding:\tChunked ", b"Transfer-Encoding: chunked, gzip"),
    *(b"Connection: close", b"Connection: keep-alive", b"Connection: content-length, x", b"Connection: transfer-encoding", b"Connection:Upgrade,x"),
    *(b"Upgrade: h2c", b"Upgrade: WebSocket", b"Expect: 100-continue", b"Expect: x", b"Trailer: X", b"TE: trailers", b"Keep-Alive: 1"),
    *(b"X-A: b", b"X-A:", b"X-A : b", b" X: y", b"\tX: y", b"X", b":", b"X: \x00", b"X: a\rb", b"X: a\nb", b"X: \xff\x80", b"X-" + b"y" * 3000 + b": z"),
    *(b"Content-Encoding: gzip", b"Content-Type: a", b"ETag: b", b"Sec-WebSocket-Key1: a", b"X-Request-Id: \xe9", b"X-Forwarded-For: ::1"),
])  # fmt: skip
_SIZES = st.sampled_from([
    *(b"5", b"05", b"5;a", b'5;a="b;\\"c"', b"5 ; a = b", b"5 ", b"g", b"-5", b"0x5", b"+5", b"", b"5;", b"5;a=", b"5;a\x00", b"5;a\nb"),
    *(b"fffffffffffffffff", b"ffffffffffffffff", b"c350", b"c351", b"5;" + b"a" * 508, b"5;" + b"a" * 509, b"0000000000000005", b"00000000000000005"),
])  # fmt: skip
_DATA = st.sampled_from([b"hello", b"\r\n0\r\n", b"GET /", b"hell", b"hello!"])
_ENDS = st.sampled_from([b"\r\n"] * 6 + [b"\n", b"\r", b"", b"\n\r", b"\r\n\r\n"])
_LAST = st.sampled_from(
    [b"0\r\n\r\n"] * 4
    + [b"0;x\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\n", b"00\r\n\r\n", b"0\r\nX: y\n\r\n", b""]
)
_PIECES = st.one_of(
    st.binary(min_size=1, max_size=3),
    st.sampled_from(
        [
            b"\r\n",
            b"\r\n\r\n",
            b"\n",
            b"\r",
            b"\x00",
            b" ",
            b"\t",
            b":",
            b",",
            b";",
            b"0",
            b"chunked",
            b"Host: x\r\n",
            b"\r\n ",
        ]
    ),
)


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    chunks = [
        draw(st.just(b"5\r\nhello\r\n") | st.builds(lambda *parts: b"".join(parts), _SIZES, _ENDS, _DATA, _ENDS))
        for _ in range(draw(st.integers(0, 3)))
    ]
    return b"".join(chunks) + draw(_LAST)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Well-formed more often than not, so that what follows it is reached."""
    if draw(st.integers(0, 3)):
        method = draw(st.sampled_from([b"GET", b"POST", b"HEAD"]))
        head = method + b" /v1/models HTTP/1.1\r\nHost: localhost\r\n" + KEY
    else:
        head = draw(_METHODS) + b" " + draw(_TARGETS) + b" " + draw(_VERSIONS) + draw(_ENDS)
        head += draw(st.sampled_from([b"Host: localhost\r\n"] * 4 + [b"", b"Host: h\r\nHost: h\r\n"])) + KEY
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2, 4]))):
        head += draw(_FIELDS) + draw(_ENDS)
    body = draw(st.sampled_from(["none", "length", "chunked", "any"]))
    if body == "length":
        return head + b"Content-Length: 5\r\n\r\nhello"
    if body == "chunked":
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + draw(chunked_bodies())
    return head + b"\r\n" + (draw(st.binary(max_size=8)) if body == "any" else b"")


@st.composite
def mutated(draw: st.DrawFn, of: st.SearchStrategy[bytes]) -> bytes:
    data = draw(of)
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(_PIECES | st.just(b"")) + data[at + draw(st.sampled_from([0, 0, 1, 2, 20])) :]
    return data


STREAMS = st.one_of(
    mutated(st.lists(requests(), min_size=1, max_size=3).map(b"".join)),
    mutated(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=2).map(b"".join)),
    st.binary(max_size=60),
)


def cuts(data: st.DataObject, stream: bytes) -> list[bytes]:
    """The stream in a few pieces, anywhere."""
    at = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=6)))
    return [stream[begin:end] for begin, end in zip([0, *at], [*at, len(stream)], strict=True) if begin < end]


_STATUS_LINES = st.sampled_from([b"HTTP/1.1 200 OK\r\n"] * 8 + [
    *(b"HTTP/1.1 204 No Content\r\n", b"HTTP/1.1 304 Not Modified\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200\r\n", b"HTTP/1.1 500 \xff\r\n"),
    *(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n"),
    *(b"HTTP/1.1 099 No\r\n", b"HTTP/1.1 999 No\r\n", b"HTTP/2.0 200 OK\r\n", b"HTTP/1.1  200 OK\r\n", b"ICY 200 OK\r\n", b"HTTP/1.1 200 O\x00K\r\n", b"\r\nHTTP/1.1 200 OK\r\n"),
])  # fmt: skip


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """What a replica might send for one request, or for two."""
    head = draw(_STATUS_LINES)
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        head += draw(_FIELDS) + draw(_ENDS)
    body = draw(st.sampled_from(["none", "length", "chunked", "close", "twice"]))
    if body == "length":
        return head + b"Content-Length: 5\r\n\r\nhello" + draw(st.just(b"") | _PIECES)
    if body == "chunked":
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + draw(chunked_bodies())
    if body == "twice":
        return (head + b"Content-Length: 5\r\n\r\nhello") * 2
    return head + b"\r\n" + (draw(st.binary(max_size=20)) if body == "close" else b"")


ANSWERS = mutated(answers()) | st.binary(max_size=40)
