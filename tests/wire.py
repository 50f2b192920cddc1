"""Both ends of the wire, byte by byte: a replica that follows a script, and a client that shows what it got.

For tests of the balancer, where a library's client or server would hide what matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import SecretStr

from supervisor import rules
from supervisor.balancer.front import ClientConnection
from supervisor.balancer.server import Balancer
from supervisor.events import Event, Events, RequestFinished
from supervisor.rotation import Rotation, Upstream
from supervisor.settings.schema import Settings
from supervisor.status import (
    BalancerStatus,
    Condition,
    DaemonStatus,
    GenerationStatus,
    ReplicaStatus,
    Status,
)

POOL_KEY = "sk-the-pools-own"
CHAT = "/v1/chat/completions"
KEY = {"Authorization": "Bearer sk-1"}
HEALTH = b"GET /health/liveliness HTTP/1.1\r\nHost: localhost\r\n\r\n"
NO_KEY = b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\n"
"""What is refused with a 401, as the pool's key is for inference only."""


@dataclass
class Message:
    """A request or a response as it was on the wire, head and body apart."""

    start: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])

    def json(self) -> Any:
        return json.loads(self.body)


async def read_head(reader: asyncio.StreamReader) -> Message:
    raw = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1")
    start, *lines = raw.split("\r\n")
    return Message(start, [(line.partition(":")[0], line.partition(":")[2].strip()) for line in lines])


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    """One chunk of a chunked body; nothing for the last. Raises IncompleteReadError where the connection ends."""
    size = int(await reader.readuntil(b"\r\n"), 16)
    data = await reader.readexactly(size)
    assert await reader.readexactly(2) == b"\r\n"
    return data


async def read_body(reader: asyncio.StreamReader, message: Message, *, response: bool) -> bytes:
    if message.all("transfer-encoding"):
        pieces: list[bytes] = []
        while piece := await read_chunk(reader):
            pieces.append(piece)
        return b"".join(pieces)
    if message.all("content-length"):
        return await reader.readexactly(int(message.one("content-length")))
    return await reader.read() if response else b""


@dataclass
class Call:
    """One request at a scripted replica, and the means to answer it."""

    request: Message
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, body: bytes = b"{}", *, status: str = "200 OK", head: bytes = b"") -> None:
        await self.send(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n%b\r\n%b" % (status.encode(), len(body), head, body))

    async def begin_stream(self, head: bytes = b"content-type: text/event-stream\r\n") -> None:
        await self.send(b"HTTP/1.1 200 OK\r\n" + head + b"transfer-encoding: chunked\r\n\r\n")

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def read_body(self) -> bytes:
        self.request.body = await read_body(self.reader, self.request, response=False)
        return self.request.body

    def hang_up(self) -> None:
        self.writer.transport.abort()


Script = Callable[[Call], Awaitable[None]]


async def say_hello(call: Call) -> None:
    await call.read_body()
    await call.reply(b'{"hello": "world"}')


async def die(call: Call) -> None:
    await call.read_body()
    call.hang_up()


class ScriptedReplica:
    """Serves on a unix socket; `script` answers each request, after its head has been read."""

    def __init__(
        self, directory: Path, slot: int = 0, script: Script = say_hello, *, replica: int | None = None
    ) -> None:
        self.upstream = Upstream(
            replica=slot + 1 if replica is None else replica,
            slot=slot,
            generation="0123456789ab",
            socket_path=directory / f"r{slot if replica is None else replica}.sock",
            credential=SecretStr(POOL_KEY),
        )
        self.script = script
        self.requests: list[Message] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.accepted = 0
        self.open = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> ScriptedReplica:
        self._server = await asyncio.start_unix_server(self._serve, str(self.upstream.socket_path), limit=2**20)
        return self

    async def stop(self) -> None:
        """Like a kill: nothing listens, nothing is open."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.writers.append(writer)
        self.accepted += 1
        self.open += 1
        try:
            while True:
                call = Call(await read_head(reader), reader, writer)
                self.requests.append(call.request)
                await self.script(call)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.transport.abort()


class Client:
    """One connection to the balancer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(
        self,
        method: str,
        target: str,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        *,
        version: str = "1.1",
    ) -> None:
        fields = {"Host": "127.0.0.1:8000", **(headers or {})}
        if (body or method == "POST") and not {"content-length", "transfer-encoding"} & {
            name.lower() for name in fields
        }:
            fields["Content-Length"] = str(len(body))
        lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in fields.items())]
        self.writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        await self.writer.drain()

    async def head(self) -> Message:
        return await read_head(self.reader)

    async def answer(self, *, bodiless: bool = False) -> Message:
        message = await self.head()
        if not bodiless:
            message.body = await read_body(self.reader, message, response=True)
        return message

    async def ask(self, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Message:
        await self.send(method, target, headers, body)
        return await self.answer(bodiless=method == "HEAD")

    def pause_reading(self) -> None:
        cast("asyncio.Transport", self.writer.transport).pause_reading()

    def resume_reading(self) -> None:
        cast("asyncio.Transport", self.writer.transport).resume_reading()

    def leave(self) -> None:
        self.writer.transport.abort()


@dataclass
class Bench:
    """A balancer on a free port, and everything around it."""

    rotation: Rotation
    balancer: Balancer
    events: Events
    seen: list[RequestFinished]
    told: list[Event]  # everything, RequestFinished included
    port: int
    condition: Condition = Condition.READY
    clients: list[Client] = dataclasses.field(default_factory=list)
    replicas: list[ScriptedReplica] = dataclasses.field(default_factory=list)

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, limit=2**20))
        self.clients.append(client)
        return client

    async def ask(self, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Message:
        client = await self.connect()
        answer = await client.ask(method, target, headers, body)
        client.leave()
        return answer

    async def add(self, replica: ScriptedReplica) -> ScriptedReplica:
        await replica.start()
        self.replicas.append(replica)
        self.rotation.add(replica.upstream)
        return replica

    def status(self) -> Status:
        replicas = tuple(
            ReplicaStatus(
                slot=upstream.slot,
                replica=upstream.replica,
                pid=None,
                state="ready",
                generation=upstream.generation,
                ready_since=None,
                in_flight=upstream.in_flight,
                rss_bytes=None,
                private_bytes=None,
                restarts=0,
                last_exit=None,
                note="",
            )
            for upstream in self.rotation
        )
        return Status(
            daemon=DaemonStatus(1, "0", "0", self.condition, 0.0, 0.0, "/run", "c.yaml", "fork", ""),
            generation=GenerationStatus("g", None, (), False, "start", 0.0, None, ()),
            wanted_replicas=3,
            ready_replicas=len(replicas),
            replicas=replicas,
            balancer=BalancerStatus((), "round_robin", 0, 0, 0, 0),
        )


def only(b: Bench) -> ClientConnection:
    """The one client's connection there is."""
    (connection,) = b.balancer._house.crowd.all()
    return connection


def little_room(sock: socket.socket, size: int = 4096) -> None:
    """In the kernel, so that it is soon full."""
    for side in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, side, size)


@contextlib.asynccontextmanager
async def bench(*replicas: ScriptedReplica, **sections: dict[str, Any]) -> AsyncIterator[Bench]:
    """A balancer with these replicas in rotation; `sections` are settings, by section."""
    settings = Settings.model_validate({**sections, "balancer": {"port": 0, **sections.get("balancer", {})}})
    rotation = rules.rotation(settings)
    events = Events()
    balancer = Balancer(rotation=rotation, settings=settings, events=events, health=lambda: made.status())  # noqa: PLW0108 - it is made below
    seen: list[RequestFinished] = []
    told: list[Event] = []
    events.subscribe(told.append)
    events.subscribe(lambda event: seen.append(event) if isinstance(event, RequestFinished) else None)
    listening = await balancer.start()
    made = Bench(rotation, balancer, events, seen, told, int(listening[0].rpartition(":")[2]))
    try:
        for replica in replicas:
            await made.add(replica)
        async with asyncio.timeout(60):  # a request that nobody answers fails its test, and does not hang it
            yield made
    finally:
        for client in made.clients:
            client.leave()
        await balancer.stop(0.01)
        for replica in made.replicas:
            await replica.stop()
