"""What a replica may answer, and what its client gets: RFC 9110, section 15; RFC 9112, sections 4 to 7.

`sent` is what the replica writes for one request, and then it closes, or stays if `stays`. The client gets `status` and
`body`; `status` 502 is ours, and CUT a connection that ends visibly before the answer does.
"""

from __future__ import annotations

from dataclasses import dataclass

CUT = 0
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    name: str
    rfc: str
    sent: bytes
    status: int
    body: bytes = b""
    method: str = "POST"
    stays: bool = False
    reused: bool = False  # the connection to the replica serves the next request

    def __str__(self) -> str:
        return self.name


def good(name: str, rfc: str, sent: bytes, body: bytes = b"ok", status: int = 200, *, reused: bool = True, method: str = "POST") -> Answer:  # fmt: skip
    return Answer(name, rfc, sent, status, body, method, stays=True, reused=reused)


def bad(name: str, rfc: str, sent: bytes, *, stays: bool = True) -> Answer:
    """Not an answer: 502, though the replica keeps its connection open."""
    return Answer(name, rfc, sent, 502, stays=stays)


def cut(name: str, rfc: str, sent: bytes, body: bytes = b"", *, stays: bool = False) -> Answer:
    return Answer(name, rfc, sent, CUT, body, stays=stays)


def field(name: str, line: bytes, rfc: str = "9112 5") -> Answer:
    return bad(f"field: {name}", rfc, OK + line + b"\r\nContent-Length: 2\r\n\r\nok")


def chunk(name: str, sent: bytes, body: bytes = b"") -> Answer:
    return cut(f"chunk: {name}", "9112 7.1", CHUNKED + sent, body, stays=True)


ANSWERS: list[Answer] = [
    good("a length", "9112 6.2", OK + b"Content-Length: 2\r\n\r\nok"),
    good("chunks", "9112 7.1", CHUNKED + b"1\r\no\r\n1\r\nk\r\n" + LAST),
    good("no reason", "9112 4", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
    good("an empty reason", "9112 4", b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"),
    good("a status that nobody knows", "9110 15", b"HTTP/1.1 299 Fine\r\nContent-Length: 2\r\n\r\nok", status=299),
    good("no content", "9110 15.3.5", b"HTTP/1.1 204 No Content\r\n\r\n", b"", 204),
    good("no content, and a length that is none of its business", "9110 8.6", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b"", 204),
    good("not modified", "9110 15.4.5", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\n\r\n", b"", 304),
    good("an answer to HEAD", "9110 9.3.2", OK + b"Content-Length: 50\r\n\r\n", b"", method="HEAD", reused=False),
    good("a chunked answer to HEAD", "9110 9.3.2", OK + b"Transfer-Encoding: chunked\r\n\r\n", b"", method="HEAD", reused=False),
    good("chunk extensions", "9112 7.1.1", CHUNKED + b"2;a=b\r\nok\r\n0;c\r\n\r\n"),
    good("trailers, which are dropped", "9110 6.5.1", CHUNKED + b"2\r\nok\r\n0\r\nSet-Cookie: a\r\nConnection: close\r\n\r\n"),
    good("interim answers before it", "9110 15.2", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok"),
    good("fields that end with spaces and tabs", "9112 5.1", OK + b"X-A: \t b \t \r\nContent-Length: 2 \r\n\r\nok"),
    good("Connection: close", "9112 9.6", OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok", reused=False),
    good("HTTP/1.0 with a length", "9112 9.3", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", reused=False),
    good("a coding that is not undone", "9110 8.4", OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b", b"\x1f\x8b"),
    good("Upgrade that nobody asked for, without switching", "9110 7.8", OK + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok"),
    good("bytes behind a length", "9112 6.3", OK + b"Content-Length: 2\r\n\r\nok!", reused=False),
    good("a second answer", "9112 6.3", (OK + b"Content-Length: 2\r\n\r\nok") * 2, reused=False),
    good("a body of an answer that has none", "9110 15.3.5", b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nok", b"", 204, reused=False),
    good("a body of an answer to HEAD", "9110 9.3.2", OK + b"Content-Length: 2\r\n\r\nok", b"", method="HEAD", reused=False),
    good("a body of an answer that is not modified", "9110 15.4.5", b"HTTP/1.1 304 No\r\nContent-Length: 2\r\n\r\nok", b"", 304, reused=False),
    Answer("no length, so until it closes", "9112 6.3", OK + b"\r\nok", 200, b"ok"),
    Answer("HTTP/1.0 until it closes", "9112 6.3", b"HTTP/1.0 200 OK\r\n\r\nok", 200, b"ok"),
    bad("nothing", "9112 8", b"", stays=False),
    bad("half a status line", "9112 8", b"HTTP/1.1 2", stays=False),
    bad("half a head", "9112 8", OK + b"Content-Le", stays=False),
    bad("half a head behind an interim one", "9112 8", b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200", stays=False),
    bad("only an interim one", "9112 8", b"HTTP/1.1 103 Early\r\n\r\n", stays=False),
    bad("interim answers without end", "9110 15.2", b"HTTP/1.1 103 Early\r\n\r\n" * 100),
    bad("an SSH server", "9112 4", b"SSH-2.0-OpenSSH_9.2\r\n"),
    bad("a request", "9112 4", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    bad("HTTP/0.9", "9112 4", b"<html>ok</html>"),
    bad("HTTP/2", "9112 4", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00d"),
    bad("Shoutcast", "9112 4", b"ICY 200 OK\r\n\r\n"),
    bad("an empty line before it", "9112 2.2", b"\r\n" + OK + b"Content-Length: 2\r\n\r\nok"),
    bad("a body of the last answer before it", "9112 4", b"x" + OK + b"Content-Length: 2\r\n\r\nok"),
    *(bad(f"status line: {line!r}", "9112 4", line + b"\r\nContent-Length: 2\r\n\r\nok") for line in (
        *(b"HTTP/2.0 200 OK", b"HTTP/0.9 200 OK", b"HTTP/1.2 200 OK", b"http/1.1 200 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1\t200 OK"),
        *(b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 099 OK", b"HTTP/1.1 600 OK", b"HTTP/1.1 999 OK", b"HTTP/1.1 -20 OK"),
        *(b"HTTP/1.1 2OO OK", b"HTTP/1.1 200 O\x00K", b"HTTP/1.1 200 O\x1bK", b"HTTP/1.1 200 O\nK", b"HTTP/1.1 200 O\rK", b"HTTP/1.1"),
    )),
    bad("it switches protocols unasked", "9110 7.8", b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00"),
    bad("it switches protocols, and does not say to which", "9110 7.8", b"HTTP/1.1 101 Switching\r\n\r\n\x81\x00"),
    bad("a head without end", "9112 5", OK + b"X-A: b\r\n" * 60_000),
    field("a fold", b"X-A: b\r\n c", "9112 5.2"),
    field("a space before the colon", b"X-A : b"),
    field("no colon", b"X-A"),
    field("no name", b": b"),
    field("UTF-8 in the name", b"X-\xc3\xa9: b"),
    field("NUL", b"X-A: b\x00c"),
    field("a control character", b"X-A: b\x01c"),
    field("a bare CR", b"X-A: b\rc"),
    field("a bare LF", b"X-A: b\nSet-Cookie: c"),
    field("a second length", b"Content-Length: 3", "9112 6.3"),
    field("the same length twice", b"content-length: 2", "9112 6.3"),
    field("both lengths", b"Transfer-Encoding: chunked", "9112 6.3"),
    *(bad(f"length: {value!r}", "9112 6.3", OK + b"Content-Length: " + value + b"\r\n\r\nok") for value in (b"2, 2", b"+2", b"-2", b"0x2", b"", b"two", b"2 2", b"18446744073709551618")),
    *(bad(f"coding: {value!r}", "9112 6.1", OK + b"Transfer-Encoding: " + value + b"\r\n\r\n2\r\nok\r\n" + LAST) for value in (b"gzip", b"gzip, chunked", b"chunked, gzip", b"identity", b"chunked, chunked", b"xchunked")),
    bad("coding: on two lines", "9112 6.1", OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n" + LAST),
    bad("coding: on HTTP/1.0", "9112 6.1", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n" + LAST),
    cut("half a length", "9112 8", OK + b"Content-Length: 20\r\n\r\nhalf", b"half"),
    cut("no last chunk", "9112 8", CHUNKED + b"2\r\nok\r\n", b"ok"),
    cut("half a chunk", "9112 8", CHUNKED + b"5\r\nok", b"ok"),
    cut("half a chunk's size", "9112 8", CHUNKED + b"2\r\nok\r\n1", b"ok"),
    cut("half a trailer", "9112 8", CHUNKED + b"2\r\nok\r\n0\r\nX-A: b", b"ok"),
    chunk("a negative size", b"-2\r\nok\r\n" + LAST),
    chunk("0x", b"0x2\r\nok\r\n" + LAST),
    chunk("not hexadecimal", b"g\r\nok\r\n" + LAST),
    chunk("an empty size", b"\r\nok\r\n" + LAST),
    chunk("a space behind the size", b"2 \r\nok\r\n" + LAST),
    chunk("more than any size", b"fffffffffffffffff\r\nok"),
    chunk("a bare LF behind the size", b"2\nok\r\n" + LAST),
    chunk("a bare LF behind the data", b"2\r\nok\n" + LAST, b"ok"),
    chunk("too long for its size", b"2\r\nok!\r\n" + LAST, b"ok"),
    chunk("an extension without end", b"2;" + b"a" * 300_000),
    chunk("trailers without end", b"2\r\nok\r\n0\r\n" + b"X-A: b\r\n" * 120_000, b"ok"),
    chunk("a length among the trailers", b"2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n", b"ok"),
    chunk("a bad trailer", b"2\r\nok\r\n0\r\nX A: b\r\n\r\n", b"ok"),
]  # fmt: skip
