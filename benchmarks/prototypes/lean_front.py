"""How lean can it be in Python: `own_front` with a fast lane for heads whose lines have all been seen before.

    python -m benchmarks.prototypes.lean_front PORT SOCKET...

Programs send the same lines again and again. A line is remembered when the guard has passed a head with it (in the
other direction: when the product's reader has), with what follows from it: forwarded or not, a length, a key. A request
that came whole, in one piece, with known lines only, is then judged by looking each of them up; whatever else is seen
(an unknown line, two lengths, a transfer coding, half a head, a proxy's header) goes the way of `own_front`.

What it saves besides: reading the head of an answer; a timer for each request (one looks at all); an event object
for each request (only metrics are counted here); asking the kernel whether an idle connection has ended (on a unix
socket whose other end is closed, the write itself fails, and takes no byte).

What it lacks beyond what `own_front` lacks: those counts reach no metrics, bodies are not held for a retry, and a key
that a client sent stays in memory until its line is forgotten, where the product would have to leave keys out.
"""

from __future__ import annotations

import asyncio
import random
import socket
from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple, cast

from benchmarks.prototypes import own_front
from benchmarks.prototypes.own_front import ClientConnection, OwnFront
from benchmarks.prototypes.own_incoming import Incoming
from supervisor.balancer.response import ResponseReader
from supervisor.balancer.response_head import BadResponse, Framing, response_head
from supervisor.observe.tally import BUCKETS
from supervisor.policy.access import CREDENTIAL_HEADERS, AccessRules
from supervisor.policy.routes import Kind, Route, classify
from supervisor.rotation import Rotation, Upstream

MOST_KNOWN = 4096
LONGEST_KNOWN = 512
END = b"\r\n\r\n"
SILENCE = 1.0
"""Seconds between two looks at which replicas have been silent for too long."""

PLAIN, KEY, HOST, LENGTH, DROPPED, OTHERWISE = range(6)
_SPECIAL = {
    "host": HOST,
    "content-length": LENGTH,
    "keep-alive": DROPPED,
    **dict.fromkeys((name.decode() for name in CREDENTIAL_HEADERS), KEY),
    **dict.fromkeys(
        (
            *("transfer-encoding", "connection", "upgrade", "expect", "te", "trailer", "proxy-connection"),
            *("forwarded", "x-real-ip", "via", "cdn-loop", "x-request-id"),
        ),
        OTHERWISE,
    ),
}


class Known(NamedTuple):
    """What follows from a header line. `text` is the line as it is passed on, `number` a length."""

    kind: int
    text: bytes
    number: int = 0


class Memory:
    """Lines that have been judged, of one direction; forgotten all at once when they are too many."""

    def __init__(self, first: Callable[[bytes], Route | None]) -> None:
        self._first = first
        self.starts: dict[bytes, Route] = {}
        self.fields: dict[bytes, Known] = {}

    def learn(self, head: bytes) -> None:
        """From a head that has been accepted."""
        start, *lines = head.split(b"\r\n")
        if len(self.fields) + len(self.starts) > MOST_KNOWN:
            self.starts.clear()
            self.fields.clear()
        route = self._first(start)
        if route is not None and len(start) <= LONGEST_KNOWN:
            self.starts[start] = route
        for line in lines:
            if len(line) <= LONGEST_KNOWN:
                self.fields[line] = _known(line)


def _known(line: bytes) -> Known:
    sent, _, rest = line.partition(b":")
    name, value = sent.lower().decode("latin-1"), rest.strip(b"\t ")
    kind = OTHERWISE if name.startswith("x-forwarded-") else _SPECIAL.get(name, PLAIN)
    if name == "connection" and value.lower() == b"keep-alive":
        kind = DROPPED
    return Known(kind, sent + b": " + value + b"\r\n", int(value) if kind == LENGTH else 0)


def _route(start: bytes) -> Route | None:
    method, _, rest = start.decode("latin-1").partition(" ")
    target, _, version = rest.partition(" ")
    plain = method == "POST" and target.startswith("/") and "?" not in target and version == "HTTP/1.1"
    route = classify(method, target)
    return route if plain and route.kind is Kind.INFERENCE else None


def _status(start: bytes) -> Route | None:
    return _ANSWERED if start == b"HTTP/1.1 200 OK" else None


_ANSWERED = Route("200", Kind.OTHER)


class Tally:
    """What metrics count: a number, a sum and buckets for each route; summed up when somebody asks."""

    def __init__(self) -> None:
        self.routes: dict[str, list[float]] = {}

    def count(self, route: str, seconds: float) -> None:
        counts = self.routes.get(route)
        if counts is None:
            counts = self.routes[route] = [0.0] * (len(BUCKETS) + 3)
        counts[0] += 1
        counts[1] += seconds
        counts[2 + bisect_left(BUCKETS, seconds)] += 1


class Shared:
    """What all connections of a front share."""

    def __init__(self, rotation: Rotation, rules: AccessRules, limit: int, patience: float) -> None:
        self.rotation = rotation
        self.everybody = not rules.allow and not rules.proxies  # who brings a key is passed on as who he is
        self.limit = limit
        self.patience = patience
        self.requests = Memory(_route)
        self.answers = Memory(_status)
        self.tally = Tally()
        self.idle: dict[int, list[Lean]] = {}
        self.busy: set[Lean] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.loop = asyncio.get_running_loop()
        self.loop.call_later(SILENCE, self.look)

    def look(self) -> None:
        self.loop.call_later(SILENCE, self.look)
        oldest = self.loop.time() - self.patience
        for lean in [lean for lean in self.busy if lean.active_at < oldest]:
            lean.end(cut=True)

    def connect(self, upstream: Upstream) -> None:
        """One more connection, for a later request."""
        task = self.loop.create_task(self._connect(upstream))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _connect(self, upstream: Upstream) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(str(upstream.socket_path))
            await self.loop.create_unix_connection(lambda: Lean(self, upstream, sock), sock=sock)
        except OSError:
            sock.close()


class Lean(asyncio.Protocol):
    """A connection to a replica, with the one request that it works for."""

    def __init__(self, shared: Shared, upstream: Upstream, sock: socket.socket) -> None:
        self._shared = shared
        self._upstream = upstream
        self._sock = sock
        self._transport: asyncio.Transport | None = None
        self._client: LeanConnection | None = None
        self._route = ""
        self._request_id = b""
        self._started = self.active_at = 0.0
        self._left = 0  # of an answer whose head was known
        self._reader = ResponseReader()  # of any other
        self._reading = False
        self._framing: Framing | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._shared.idle.setdefault(self._upstream.replica, []).append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        idle = self._shared.idle.get(self._upstream.replica, [])
        if self in idle:
            idle.remove(self)
        self.end(cut=True)

    def ask(self, client: LeanConnection, route: Route, data: list[bytes]) -> bool:
        """Whether the request has been sent; if not, no byte of it was."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        request = b"".join(data)
        try:
            taken = self._sock.send(request)
        except BlockingIOError:
            taken = 0
        except OSError:
            transport.abort()
            return False
        if taken < len(request):
            transport.write(request[taken:])
        self._client = client
        self._route = route.name
        self._request_id = client.request_id
        self._started = self.active_at = self._shared.loop.time()
        self._shared.busy.add(self)
        return True

    def data_received(self, data: bytes) -> None:
        client = self._client
        if client is None:
            if self._transport is not None:
                self._transport.abort()  # nobody asked
            return
        self.active_at = self._upstream.last_byte_at = self._shared.loop.time()
        if self._left:
            self._left -= len(data)
            client.write(data)
            if self._left <= 0:
                self.end(cut=self._left < 0)
        elif self._reading or not self._answer_known(client, data):
            self._answer_otherwise(client, data)

    def hold(self, *, held: bool) -> None:
        """The client takes nothing at present, or something again."""
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.pause_reading if held else self._transport.resume_reading)()

    def end(self, *, cut: bool = False) -> None:
        """The request is over; the connection is free again, or gone."""
        client, self._client = self._client, None
        if client is None:
            return
        shared, upstream = self._shared, self._upstream
        shared.busy.discard(self)
        shared.rotation.release(upstream)
        self._left, self._reading, self._framing = 0, False, None
        shared.tally.count(self._route, shared.loop.time() - self._started)
        if not cut and not upstream.leaving:
            shared.idle[upstream.replica].append(self)
        elif self._transport is not None:
            self._transport.abort()
        client.answered(keep_alive=not cut)

    def _answer_known(self, client: LeanConnection, data: bytes) -> bool:
        end = data.find(END)
        lines = data[:end].split(b"\r\n") if end > 0 else [b""]
        memory = self._shared.answers
        if lines[0] not in memory.starts:
            return False
        out, length, fields = [b"HTTP/1.1 200 OK\r\n"], -1, memory.fields
        for line in lines[1:]:
            known = fields.get(line)
            if known is None:
                return False
            kind, text, number = known
            if kind == PLAIN:
                out.append(text)
            elif kind == LENGTH and length < 0:
                length = number
                out.append(text)
            elif kind != DROPPED:
                return False
        body = len(data) - end - 4
        if length < body:
            return False
        out += (b"x-request-id: ", self._request_id, b"\r\nx-litesup-replica: %d\r\n\r\n" % self._upstream.slot)
        if body:
            out.append(data[end + 4 :])
        client.write(b"".join(out))
        self._left = length - body
        if not self._left:
            self.end()
        return True

    def _answer_otherwise(self, client: LeanConnection, data: bytes) -> None:
        reader = self._reader
        if not self._reading:
            self._reading = True
            reader.begin(head_only=False)
        try:
            reader.feed(data)
        except BadResponse:
            self.end(cut=True)
            return
        head = reader.head
        if head is None:
            return
        first = b""
        if self._framing is None:
            self._framing = head.framing(http_1_0=False)
            first = response_head(
                head,
                framing=self._framing,
                slot=self._upstream.slot,
                request_id=self._request_id.decode(),
                keep_alive=self._framing is not Framing.CLOSE,
                http_1_0=False,
            )
            if END in data and data.startswith(b"HTTP/1.1 200 OK\r\n"):
                self._shared.answers.learn(data[: data.index(END)])
        pieces = reader.pieces[:]
        reader.pieces.clear()
        if self._framing is Framing.CHUNKED:
            pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
            if reader.complete:
                pieces.append(b"0\r\n\r\n")
        client.write(first + b"".join(pieces))
        if reader.complete:
            self.end(cut=not reader.reusable)


class LeanConnection(ClientConnection):
    """One client's connection, with the fast lane."""

    shared: Shared
    request_id = b""
    _lean: Lean | None = None

    def data_received(self, data: bytes) -> None:
        if self._lean is None and self.quiet:
            if self._quickly(data):
                return
            self._slowly(data)
        else:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        lean = self._lean
        if lean is not None:
            lean.end(cut=True)
        super().connection_lost(exc)

    def eof_received(self) -> None:
        if self._lean is not None and self._transport is not None:
            self._transport.abort()
        super().eof_received()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._lean is not None:
            self._lean.hold(held=True)

    def resume_writing(self) -> None:
        if self._lean is not None:
            self._lean.hold(held=False)
        super().resume_writing()

    def answered(self, *, keep_alive: bool) -> None:
        self._lean = None
        self.finished(keep_alive=keep_alive)

    def may_start(self) -> bool:
        return self._lean is None

    def _quickly(self, data: bytes) -> bool:
        """Whether the request is on its way to a replica."""
        shared = self.shared
        end = data.find(END, 0, shared.limit)
        lines = data[:end].split(b"\r\n") if end > 0 else [b""]
        route = shared.requests.starts.get(lines[0])
        if route is None:
            return False
        out, length, hosted, keyed, fields = [lines[0], b"\r\n"], -1, False, False, shared.requests.fields
        for line in lines[1:]:
            known = fields.get(line)
            if known is None:
                return False
            kind, text, number = known
            if kind == PLAIN:
                out.append(text)
            elif kind == KEY:
                keyed = True
                out.append(text)
            elif kind == HOST and not hosted:
                hosted = True
                out.append(text)
            elif kind == LENGTH and length < 0:
                length = number
                out.append(text)
            elif kind != DROPPED:
                return False
        if not (hosted and keyed and shared.everybody) or length != len(data) - end - 4:
            return False
        upstream = shared.rotation.take()
        if upstream is None:
            return False
        request_id = self.request_id = b"%032x" % random.getrandbits(128)
        out += (b"x-forwarded-for: ", self.peer_bytes, b"\r\nx-request-id: ", request_id, data[end:])
        idle = shared.idle.get(upstream.replica)
        while idle:
            lean = idle.pop()
            if lean.ask(self, route, out):
                self._lean = lean
                self._crowd.begin(self)
                return True
        shared.rotation.release(upstream)
        shared.connect(upstream)
        return False

    def _slowly(self, data: bytes) -> None:
        begun: list[Incoming] = self._reader.feed(data)
        if begun and begun[0].head is not None and not begun[0].head.line.http_1_0 and END in data:
            self.shared.requests.learn(data[: data.index(END)])
        self.take(begun)


class LeanFront(OwnFront):
    """As OwnFront, with LeanConnection."""

    _shared: Shared | None = None

    def _connection(self) -> ClientConnection:
        connection = LeanConnection(self._limits, self._crowd, self._around)
        if self._shared is None:
            around = self._around
            self._shared = Shared(around.rotation, around.rules, self._limits.head, around.response_timeout)
        connection.shared = self._shared
        return connection


if __name__ == "__main__":
    own_front.main(LeanFront)
