"""Request lines: RFC 9112, sections 2 and 3; RFC 9110, sections 4, 7.1 and 9."""

from __future__ import annotations

from tests.http.corpus.case import END, GET, HEAD_LIMIT, HOST, KEY, TARGET_LIMIT, Case, passed, refused

REST = HOST + KEY + END


def line(method: bytes, target: bytes, version: bytes = b"HTTP/1.1", rest: bytes = REST) -> bytes:
    return method + b" " + target + b" " + version + b"\r\n" + rest


def same_target(name: str, target: bytes) -> Case:
    return passed(f"target: {name}", "9112 3.2.1", line(b"GET", target))


def becomes_path(name: str, target: bytes, path: bytes, host: bytes = HOST) -> Case:
    return passed(f"absolute form: {name}", "9112 3.2.2", line(b"GET", target, rest=host + KEY + END), line(b"GET", path, rest=host + KEY + END))  # fmt: skip


CASES: list[Case] = [
    *(passed(f"method {method.decode()}", "9110 9.1", line(method, b"/v1/models")) for method in (b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"HEAD")),
    same_target("percent-encoding stays as it is", b"/v1/%2e%2E/a%2Fb%20c"),
    same_target("dot segments stay", b"/v1/./../models"),
    same_target("empty segments stay", b"//v1///models"),
    same_target("query", b"/v1/models?a=b&c=%20+d;e"),
    same_target("empty query", b"/v1/models?"),
    same_target("question marks in the query", b"/v1/models?a?b?"),
    same_target("what URIs do not allow and clients send all the same", b'/v1/models?a={"b"}|c^d`e<f>\\'),
    same_target("as long as allowed", b"/" + b"a" * (TARGET_LIMIT - 1)),
    same_target("a colon in the path", b"/v1/models/a:b@c"),
    passed("asterisk form", "9112 3.2.4", line(b"OPTIONS", b"*")),
    becomes_path("same authority", b"http://localhost/v1/models", b"/v1/models"),
    becomes_path("no path", b"http://localhost", b"/"),
    becomes_path("a query and no path", b"http://localhost?a=b", b"/?a=b"),
    becomes_path("case and default port do not count", b"HTTP://LOCALHOST:80/a", b"/a"),
    becomes_path("a port", b"http://localhost:8000/a", b"/a", b"Host: localhost:8000\r\n"),
    becomes_path("https, of which TLS was taken off before", b"https://localhost/a", b"/a"),
    passed("absolute form without Host, on HTTP/1.0", "9112 3.2.2", line(b"GET", b"http://localhost/a", b"HTTP/1.0", KEY + END), line(b"GET", b"/a", b"HTTP/1.1", b"Host: localhost\r\n" + KEY + END), closed=True),
    passed("one empty line before a request", "9112 2.2", END + GET + END, GET + END),
    refused("two empty lines before a request", "9112 2.2", END + END + GET + END),
    refused("a bare LF before a request", "9112 2.2", b"\n" + GET + END),
    refused("a bare CR before a request", "9112 2.2", b"\rX" + GET + END),
    refused("a space before the method", "9112 3", b" " + GET + END),
    refused("two spaces behind the method", "9112 3", b"GET  /v1/models HTTP/1.1\r\n" + REST),
    refused("two spaces behind the target", "9112 3", b"GET /v1/models  HTTP/1.1\r\n" + REST),
    refused("a tab for a space", "9112 3", b"GET\t/v1/models HTTP/1.1\r\n" + REST),
    refused("a space behind the version", "9112 3", b"GET /v1/models HTTP/1.1 \r\n" + REST),
    refused("a space in the target", "9112 3.2", b"GET /v1/mo dels HTTP/1.1\r\n" + REST),
    refused("no version (HTTP/0.9)", "9112 3", b"GET /v1/models\r\n"),
    refused("no target", "9112 3", b"GET HTTP/1.1\r\n" + REST),
    refused("an empty target", "9112 3", b"GET  HTTP/1.1\r\n" + REST),
    refused("a method alone", "9112 3", b"GET\r\n"),
    refused("no method", "9112 3", b" /v1/models HTTP/1.1\r\n" + REST),
    refused("a fourth part", "9112 3", b"GET /v1/models HTTP/1.1 x\r\n" + REST),
    refused("bare LF behind the request line", "9112 2.2", b"GET /v1/models HTTP/1.1\n" + REST),
    refused("bare CR in the request line", "9112 2.2", b"GET /v1/models\r HTTP/1.1\r\n" + REST),
    refused("CR CR LF behind the request line", "9112 2.2", b"GET /v1/models HTTP/1.1\r\r\n" + REST),
    *(refused(f"version {version.decode()}", "9110 2.5", line(b"GET", b"/", version), 505) for version in (b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/3.0", b"HTTP/9.9")),
    *(refused(f"not a version: {version.decode()}", "9112 2.3", line(b"GET", b"/", version)) for version in (b"http/1.1", b"Http/1.1", b"HTTP/1.10", b"HTTP/01.1", b"HTTP/1", b"HTTP/1.", b"HTTP/.1", b"HTTP/11", b"HTTP/1,1", b"HTTP 1.1", b"HTTPS/1.1", b"RTSP/1.0", b"HTTP/1.1.1")),
    refused("HTTP/2 with prior knowledge", "9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    refused("CONNECT", "9110 9.3.6", line(b"CONNECT", b"10.0.0.1:443"), 405),
    refused("CONNECT with a path", "9110 9.3.6", line(b"CONNECT", b"/"), 405),
    refused("TRACE", "9110 9.3.8", line(b"TRACE", b"/"), 405),
    *(refused(f"unknown method {method.decode()}", "9110 9.1", line(method, b"/"), 501) for method in (b"BREW", b"get", b"Post", b"PROPFIND", b"G!#$%&'*+-.^_`|~9T")),
    *(refused(f"not a method: {method!r}", "9110 9.1", line(method, b"/")) for method in (b"G(T", b"G@T", b"G\x00T", b"G\xc3\xa9T", b"GET:", b'"GET"', b"G,T")),
    refused("a target that is not a path", "9112 3.2", line(b"GET", b"v1/models")),
    refused("an asterisk that is not for OPTIONS", "9112 3.2.4", line(b"GET", b"*")),
    refused("an authority for GET", "9112 3.2.3", line(b"GET", b"localhost:8000")),
    refused("a fragment", "9112 3.2", line(b"GET", b"/v1/models#a")),
    refused("NUL in the target", "9112 3.2", line(b"GET", b"/v1/\x00models")),
    refused("DEL in the target", "9112 3.2", line(b"GET", b"/v1/\x7fmodels")),
    refused("UTF-8 in the target", "9112 3.2", line(b"GET", "/v1/modéls".encode())),
    refused("an escape sequence in the target", "9112 3.2", line(b"GET", b"/\x1b[31m")),
    refused("absolute form of another host", "9112 3.2.2", line(b"GET", b"http://elsewhere/v1/models")),
    refused("absolute form of another port", "9112 3.2.2", line(b"GET", b"http://localhost:81/v1/models")),
    refused("absolute form with userinfo", "9110 4.2.4", line(b"GET", b"http://localhost@elsewhere/v1/models")),
    refused("absolute form with a password", "9110 4.2.4", line(b"GET", b"http://a:b@localhost/v1/models")),
    refused("absolute form without a host", "9110 4.2.1", line(b"GET", b"http:///v1/models")),
    refused("absolute form with a list", "9112 3.2.2", line(b"GET", b"http://localhost,elsewhere/")),
    refused("absolute form with one slash", "9112 3.2.2", line(b"GET", b"http:/localhost/v1/models")),
    refused("absolute form with a fragment", "9112 3.2.2", line(b"GET", b"http://localhost/#a")),
    refused("absolute form of another scheme", "9112 3.2.2", line(b"GET", b"ftp://localhost/v1/models")),
    refused("absolute form, and no Host", "9112 3.2", line(b"GET", b"http://localhost/", rest=KEY + END)),
    refused("a target too long by one", "9110 15.5.15", line(b"GET", b"/" + b"a" * TARGET_LIMIT), 414),
    refused("a target without end", "9110 15.5.15", b"GET /" + b"a" * (HEAD_LIMIT * 2), 414),
    refused("a TLS client", "9112 3", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64))),
    refused("an SSH client", "9112 3", b"SSH-2.0-OpenSSH_9.2\r\n"),
    refused("a Redis client", "9112 3", b"*1\r\n$4\r\nPING\r\n"),
    refused("a PROXY protocol line", "9112 3", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + GET + END),
    refused("JSON", "9112 3", b'{"model": "gpt-4"}\r\n'),
]  # fmt: skip
