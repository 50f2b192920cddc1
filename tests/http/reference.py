"""A second reading of the same RFCs, for comparison: slow, whole messages at once, no regular expressions.

Nothing in it is shared with `supervisor.balancer.guard`. It takes a stream of requests apart and says of each what it
is; how a message that is not complete should be taken it leaves open.
"""

from __future__ import annotations

import string
from dataclasses import dataclass

TOKEN = frozenset(b"!#$%&'*+-.^_`|~" + (string.ascii_letters + string.digits).encode())
TEXT = frozenset({9, *range(0x20, 0x7F), *range(0x80, 0x100)})
HEX = frozenset(string.hexdigits.encode())
METHODS = {b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"}
ONCE = {b"content-type", b"content-location", b"content-range", b"etag", b"max-forwards", b"server", b"user-agent"}
NAME = frozenset((string.ascii_letters + string.digits + "._~!$&'()*+;=-").encode())


class Bad(Exception):
    """To be refused."""


class More(Exception):
    """The stream ends within this message."""


@dataclass(frozen=True)
class Request:
    method: bytes
    target: bytes  # as a path
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    last: bool  # its connection ends with it
    websocket: bool


@dataclass(frozen=True)
class Reading:
    """`refused`: the message behind `requests` is bad. `complete`: nothing is left open."""

    requests: tuple[Request, ...]
    refused: bool
    complete: bool


def read(stream: bytes, *, head_limit: int, target_limit: int, body_limit: int, declined: bool = False) -> Reading:
    """`declined`: what follows a request for a WebSocket is the next request, else it is not looked at."""
    requests: list[Request] = []
    while stream:
        if stream.startswith(b"\r\n"):
            stream = stream[2:]
            if not stream:
                return Reading(tuple(requests), refused=False, complete=False)
        try:
            request, stream = _request(stream, head_limit, target_limit, body_limit)
        except Bad:
            return Reading(tuple(requests), refused=True, complete=True)
        except More:
            return Reading(tuple(requests), refused=False, complete=False)
        requests.append(request)
        if request.last or (request.websocket and not declined):
            break
    return Reading(tuple(requests), refused=False, complete=True)


def _request(stream: bytes, head_limit: int, target_limit: int, body_limit: int) -> tuple[Request, bytes]:
    head, end, rest = stream.partition(b"\r\n\r\n")
    if not end:
        raise Bad if len(stream) > head_limit else More
    if len(head) + 4 > head_limit:
        raise Bad
    start, *lines = head.split(b"\r\n")
    parts = start.split(b" ")
    _need(len(parts) == 3)
    method, target, version = parts
    _need(method in METHODS)
    _need(version in {b"HTTP/1.0", b"HTTP/1.1"})
    _need(0 < len(target) <= target_limit and all(0x20 < byte < 0x7F and byte != ord("#") for byte in target))
    fields = [_field(line) for line in lines]
    named: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        named.setdefault(name.lower(), []).append(value)
    _need(all(len(values) == 1 or name not in ONCE for name, values in named.items()))
    _need(b"sec-websocket-key1" not in named)  # announces nothing, and has a body
    old = version == b"HTTP/1.0"
    hosts = named.get(b"host", [])
    _need(len(hosts) == 1 or (old and not hosts))
    for host in hosts:
        _need(_is_host(host))
    target = _path(method, target, hosts)
    expectations = _list(named.get(b"expect", []))
    _need(old or set(expectations) <= {b"100-continue"})
    options = _list(named.get(b"connection", []))
    lengths = named.get(b"content-length", [])
    if b"transfer-encoding" in named:
        _need(not old and not lengths and [value.lower() for value in named[b"transfer-encoding"]] == [b"chunked"])
        body, rest = _chunks(rest, head_limit, body_limit)
    else:
        _need(len(lengths) <= 1)
        size = 0
        for length in lengths:
            _need(bool(length) and all(byte in b"0123456789" for byte in length))
            size = int(length)
            _need(size <= body_limit)
        if len(rest) < size:
            raise More
        body, rest = rest[:size], rest[size:]
    keep = (b"keep-alive" in options and b"close" not in options) if old else b"close" not in options
    websocket = (
        method == b"GET" and not old and _list(named.get(b"upgrade", [])) == [b"websocket"] and b"upgrade" in options
    )
    return Request(method, target, tuple(fields), body, not keep, websocket), rest


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    _need(bool(colon) and bool(name) and all(byte in TOKEN for byte in name))
    _need(all(byte in TEXT for byte in value))
    return name, value.strip(b" \t")


def _path(method: bytes, target: bytes, hosts: list[bytes]) -> bytes:
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    scheme, colon, rest = target.partition(b"://")
    _need(bool(colon) and scheme.lower() in {b"http", b"https"})
    cut = min([rest.find(char) for char in (b"/", b"?") if char in rest], default=len(rest))
    authority, path = rest[:cut], rest[cut:]
    _need(_is_host(authority))
    for host in hosts:
        _need(_without_port_80(host) == _without_port_80(authority))
    return path if path.startswith(b"/") else b"/" + path


def _without_port_80(host: bytes) -> bytes:
    host = host.lower()
    if host.endswith(b":80"):
        return host[:-3]
    return host[:-1] if host.endswith(b":") else host


def _is_host(host: bytes) -> bool:
    if host.startswith(b"["):
        name, bracket, port = host[1:].partition(b"]")
        if not bracket or not name or any(byte not in b"0123456789abcdefABCDEF:." for byte in name):
            return False
        return not port or (port.startswith(b":") and _is_port(port[1:]))
    name, colon, port = host.partition(b":")
    if not name or (colon and not _is_port(port)):
        return False
    at = 0
    while at < len(name):
        if name[at] == ord("%"):
            if len(name) < at + 3 or name[at + 1] not in HEX or name[at + 2] not in HEX:
                return False
            at += 3
        elif name[at] in NAME:
            at += 1
        else:
            return False
    return True


def _is_port(port: bytes) -> bool:
    return len(port) <= 5 and all(byte in b"0123456789" for byte in port)


def _list(values: list[bytes]) -> list[bytes]:
    return [part.strip(b" \t").lower() for value in values for part in value.split(b",") if part.strip(b" \t")]


def _chunks(rest: bytes, head_limit: int, body_limit: int) -> tuple[bytes, bytes]:
    body = b""
    spent = 0
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            raise More
        _need(len(line) <= 510)
        digits = 0
        while digits < len(line) and line[digits] in HEX:
            digits += 1
        _need(1 <= digits <= 16)
        spent += len(line) - digits
        _need(spent <= 16 * 1024)
        _extensions(line[digits:])
        size = int(line[:digits], 16)
        if not size:
            break
        _need(len(body) + size <= body_limit)
        data = rest[: size + 2]
        _need(b"\r\n".startswith(data[size:]))
        if len(data) < size + 2:
            raise More
        body += data[:size]
        rest = rest[size + 2 :]
    spent = 0
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            raise More
        _need(spent + len(line) + 2 <= head_limit)
        if not line:
            return body, rest
        _field(line)
        spent += len(line) + 2


def _extensions(text: bytes) -> None:
    while text:
        text = text.lstrip(b" \t")
        _need(text.startswith(b";"))
        name, text = _word(text[1:].lstrip(b" \t"))
        _need(bool(name))
        after = text.lstrip(b" \t")
        if after.startswith(b"="):
            after = after[1:].lstrip(b" \t")
            if after.startswith(b'"'):
                text = _unquoted(after[1:])
            else:
                value, text = _word(after)
                _need(bool(value))


def _word(text: bytes) -> tuple[bytes, bytes]:
    end = 0
    while end < len(text) and text[end] in TOKEN:
        end += 1
    return text[:end], text[end:]


def _unquoted(text: bytes) -> bytes:
    """What follows behind the closing quote."""
    at = 0
    while at < len(text):
        if text[at] == ord('"'):
            return text[at + 1 :]
        if text[at] == ord("\\"):
            at += 1
            _need(at < len(text))
        _need(text[at] in TEXT)
        at += 1
    raise Bad


def _need(good: bool) -> None:
    if not good:
        raise Bad
