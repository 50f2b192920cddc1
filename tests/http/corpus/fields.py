"""Header fields: RFC 9112, section 5; RFC 9110, sections 5, 7.2, 7.6 and 10.1."""

from __future__ import annotations

from tests.http.corpus.case import END, GET, HEAD_LIMIT, HOST, KEY, POST, Case, passed, refused

LINE = b"GET /v1/models HTTP/1.1\r\n"
TCHARS = b"!#$%&'*+-.^_`|~0Az"


def stays(name: str, field: bytes, becomes: bytes | None = None, rfc: str = "9112 5.1") -> Case:
    return passed(f"field: {name}", rfc, GET + field + b"\r\n" + END, GET + (field if becomes is None else becomes) + b"\r\n" + END)  # fmt: skip


def bad(name: str, field: bytes, rfc: str = "9112 5.1") -> Case:
    return refused(f"field: {name}", rfc, GET + field + b"\r\n" + END)


def goes(name: str, fields: bytes, left: bytes = b"", *, closed: bool = False) -> Case:
    """Fields for one hop: `left` arrives."""
    return passed(f"hop by hop: {name}", "9110 7.6.1", GET + fields + END, GET + left + END, closed=closed)


def host(name: str, value: bytes, *, good: bool) -> Case:
    sent = LINE + b"Host:" + value + b"\r\n" + KEY + END
    if good:
        return passed(f"Host: {name}", "9110 7.2", sent, LINE + b"Host: " + value.strip() + b"\r\n" + KEY + END)
    return refused(f"Host: {name}", "9112 3.2", sent)


CASES: list[Case] = [
    stays("no space behind the colon", b"X-A:b", b"X-A: b"),
    stays("spaces and tabs around the value", b"X-A: \t b \t ", b"X-A: b"),
    stays("spaces and tabs inside the value", b"X-A: b \t c"),
    stays("an empty value", b"X-A:", b"X-A: "),
    stays("a value of spaces", b"X-A:   ", b"X-A: "),
    stays("bytes above 127 in a value", b"X-A: caf\xc3\xa9 \xff", rfc="9110 5.5"),
    stays("every character of a token", TCHARS + b": b", rfc="9110 5.6.2"),
    stays("the case of names", b"x-CaSe: b"),
    stays("the order of equal names", b"X-A: 1\r\nX-B: 2\r\nX-A: 3", rfc="9110 5.3"),
    stays("colons in the value", b"X-A: b: c:"),
    stays("a hundred of them", b"\r\n".join(b"X-%d: y" % number for number in range(100))),
    stays("accepted codings are the replica's business", b"Accept-Encoding: zstd, br;q=0.5", rfc="9110 12.5.3"),
    stays("a list with empty members", b"Accept: a,,b", rfc="9110 5.6.1"),
    bad("space before the colon", b"X-A : b"),
    bad("tab before the colon", b"X-A\t: b"),
    bad("a space in the name", b"X A: b"),
    bad("no name", b": b"),
    bad("no colon", b"X-A"),
    bad("no colon, though a space", b"X-A b"),
    *(bad(f"{chr(char)} in the name", b"X" + bytes([char]) + b"A: b", "9110 5.6.2") for char in b'()<>@,;\\"/[]?={}'),
    bad("UTF-8 in the name", b"X-\xc3\xa9: b", "9110 5.6.2"),
    bad("folded with a space", b"X-A: b\r\n c", "9112 5.2"),
    bad("folded with a tab", b"X-A: b\r\n\tc", "9112 5.2"),
    bad("folded to nothing", b"X-A: b\r\n ", "9112 5.2"),
    bad("folded before the first one", b" X-A: b", "9112 2.2"),
    refused("field: a space before the first one", "9112 2.2", LINE + b" " + HOST + KEY + END),
    refused("field: Host is folded", "9112 5.2", LINE + b"Host:\r\n localhost\r\n" + KEY + END),
    *(bad(f"control character {char} in the value", b"X-A: b" + bytes([char]) + b"c", "9110 5.5") for char in (0, 1, 8, 11, 12, 27, 31, 127)),
    bad("bare CR in the value", b"X-A: b\rc", "9112 2.2"),
    bad("bare LF in the value", b"X-A: b\nX-B: c", "9112 2.2"),
    bad("CR CR LF", b"X-A: b\r", "9112 2.2"),
    bad("bare CR in the name", b"X\r-A: b", "9112 2.2"),
    bad("NUL in the name", b"X-\x00A: b", "9110 5.5"),
    refused("field: a head that ends with LF LF", "9112 2.2", b"GET / HTTP/1.1\nHost: localhost\n\n"),
    refused("field: an end of CR LF LF", "9112 2.2", GET + b"\n"),
    refused("field: one that says something twice that can be said once", "9110 5.3", GET + b"Content-Type: a/b\r\nContent-Type: c/d\r\n" + END),
    passed("field: a head as long as allowed", "9110 5.4", GET + b"X: " + b"y" * (HEAD_LIMIT - len(GET) - 7) + b"\r\n" + END),
    refused("field: a head too long by one", "6585 5", GET + b"X: " + b"y" * (HEAD_LIMIT - len(GET) - 6) + b"\r\n" + END, 431),
    refused("field: a head without end", "6585 5", GET + b"X: y\r\n" * HEAD_LIMIT, 431),
    refused("field: a value without end", "6585 5", GET + b"X: " + b"y" * HEAD_LIMIT * 2, 431),
    refused("Host: none", "9112 3.2", LINE + KEY + END),
    refused("Host: two", "9112 3.2", GET + b"Host: elsewhere\r\n" + END),
    refused("Host: the same one twice", "9112 3.2", GET + HOST + END),
    refused("Host: two, the second in another case", "9112 3.2", GET + b"hOST: localhost\r\n" + END),
    passed("Host: none, on HTTP/1.0", "9112 3.2", b"GET /v1/models HTTP/1.0\r\n" + KEY + END, LINE + KEY + b"host: localhost\r\n" + END, closed=True),
    host("a port", b" localhost:8000", good=True),
    host("an empty port", b" localhost:", good=True),
    host("IPv4", b" 127.0.0.1:8000", good=True),
    host("IPv6", b" [::1]", good=True),
    host("IPv6 and a port", b" [::ffff:127.0.0.1]:8000", good=True),
    host("an underscore", b" litesup_proxy", good=True),
    host("a dot at the end", b" localhost.", good=True),
    host("percent-encoded", b" local%68ost", good=True),
    host("empty", b"", good=False),
    host("empty, with a port", b" :80", good=False),
    host("userinfo", b" user@localhost", good=False),
    host("a path", b" localhost/v1", good=False),
    host("a query", b" localhost?a", good=False),
    host("a fragment", b" localhost#a", good=False),
    host("a list", b" localhost, elsewhere", good=False),
    host("a list without a space", b" localhost,elsewhere", good=False),
    host("a space", b" local host", good=False),
    host("a scheme", b" http://localhost", good=False),
    host("letters for a port", b" localhost:http", good=False),
    host("a port too long", b" localhost:800000", good=False),
    host("two ports", b" localhost:80:80", good=False),
    host("a negative port", b" localhost:-1", good=False),
    host("IPv6 without brackets", b" ::1", good=False),
    host("an open bracket", b" [::1", good=False),
    host("empty brackets", b" []", good=False),
    host("behind the bracket", b" [::1]x", good=False),
    host("half of a percent-encoding", b" local%6", good=False),
    host("a backslash", b" localhost\\elsewhere", good=False),
    host("UTF-8", " lòcalhost".encode(), good=False),
    goes("Connection", b"Connection: keep-alive\r\n"),
    goes("what Connection names", b"Connection: x-a, X-B\r\nX-A: 1\r\nx-b: 2\r\nX-C: 3\r\n", b"X-C: 3\r\n"),
    goes("what several Connections name", b"X-A: 1\r\nConnection: x-a\r\nX-B: 2\r\nconnection: ,, x-b ,\r\n"),
    goes("Keep-Alive", b"Keep-Alive: timeout=5\r\n"),
    goes("Proxy-Connection", b"Proxy-Connection: keep-alive\r\n"),
    goes("TE", b"Connection: TE\r\nTE: trailers\r\n"),
    goes("Trailer", b"Trailer: X-A\r\n"),
    goes("Upgrade to what is not known here", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"),
    goes("Upgrade that Connection does not name", b"Upgrade: websocket\r\n"),
    goes("Connection: close", b"Connection: close\r\n", closed=True),
    goes("Connection: close among others", b"Connection: x, ClOsE\r\nX: y\r\n", closed=True),
    passed("hop by hop: Connection cannot name what gives a message its meaning", "9110 7.6.1", POST + b"Connection: host, content-length, authorization-not\r\nContent-Length: 2\r\n\r\n{}", POST + b"Content-Length: 2\r\n" + END, b"{}"),
    passed("hop by hop: Upgrade to what is not known here, with a body", "9110 7.8", POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}", POST + b"Content-Length: 2\r\n" + END, b"{}"),
    passed("hop by hop: a WebSocket by POST is none", "6455 4.1", POST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\n{}", POST + b"Content-Length: 2\r\n" + END, b"{}"),
    passed("hop by hop: HTTP/1.0 does not upgrade", "9110 7.8", b"GET /v1/realtime HTTP/1.0\r\n" + HOST + KEY + b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + END, b"GET /v1/realtime HTTP/1.1\r\n" + HOST + KEY + END, closed=True),
    passed("X-Forwarded-For of a client that nobody vouches for", "9110 7.6", GET + b"X-Forwarded-For: 10.1.1.1\r\n" + END, GET + END),
    passed("Expect: 100-continue", "9110 10.1.1", POST + b"Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n{}", POST + b"Content-Length: 2\r\n" + END, b"{}"),
    passed("Expect, on HTTP/1.0", "9110 10.1.1", b"GET /v1/models HTTP/1.0\r\n" + HOST + KEY + b"Expect: something\r\n" + END, GET + END, closed=True),
    refused("Expect: something else", "9110 10.1.1", POST + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}", 417),
    refused("Expect: 100-continue and something else", "9110 10.1.1", POST + b"Expect: 100-continue, x\r\nContent-Length: 2\r\n\r\n{}", 417),
    refused("Expect: twice, the second unknown", "9110 10.1.1", POST + b"Expect: 100-continue\r\nExpect: x\r\nContent-Length: 2\r\n\r\n{}", 417),
]  # fmt: skip
