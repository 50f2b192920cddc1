"""A replica that is not LiteLLM: starts in milliseconds, and misbehaves on command.

A *program* as `supervisor/fleet/launch/replica_main.py` describes it, so every real launcher runs it:

    PlainLauncher(tests.fake_litellm.PROGRAM)      ForkedLauncher(events, tests.fake_litellm.PROGRAM)

Standard library only. It speaks HTTP/1.1 with keep-alive on its unix socket:

    GET  /health/liveliness, /health/liveness, /health/readiness      200
    GET  /v1/models, /models                                          200, those that its --config names
    POST …/chat/completions                                           JSON, or SSE when the body has "stream": true
    anything else                                                     200, JSON: what was received

Every response has `x-fake-replica: <pid>`. Chat completions and "anything else" echo what arrived: `echo` holds method,
target, headers (lower case, as pairs), the body's length and, below 64 KiB, its text. A stream's chunks are numbered
from 0 in `choices[0].delta.content`, and end with `data: [DONE]`.

Steered by environment variables, for the whole process:

    FAKE_PRINT=text          prints this line to stdout when it starts, and "to stderr: text" to stderr
    FAKE_BOOT_SECONDS=1.5    waits before it listens
    FAKE_MIGRATES=PATH       waits until PATH exists, unless DISABLE_SCHEMA_UPDATE is "true"
    FAKE_EXIT_STARTING=3     exits with that code instead of listening
    FAKE_EXIT_AFTER=0.2      exits with FAKE_EXIT_CODE (default 1) so long after it listens
    FAKE_HANG_AFTER=0.2      stops its event loop (answers nothing any more) so long after it listens
    FAKE_IGNORE_TERM=1       does not leave on SIGTERM
    FAKE_CHILD=1             has a child in its own session, of its own process group, which outlives it
    FAKE_LOAD_FAILS=reason   `load()` raises RuntimeError(reason): in the fork server, and in a plain replica
    FAKE_LOAD_THREAD=name    `load()` leaves a thread of that name running
    FAKE_LOAD_OPENS=PATH     `load()` opens that file and keeps it open
    FAKE_LOAD_SETS=NAME      `load()` sets this environment variable to "by load"
    FAKE_LOAD_WAITS=PATH     `load()` waits until PATH exists
    FAKE_LOAD_READS=text     `load()` looks at it, and that is all
    FAKE_READINESS=503       what /health/readiness answers

and by request headers, for one request:

    x-fake-status: 429           answers with that status
    x-fake-delay: 0.5            waits before the response's first byte
    x-fake-chunks: 3             chunks of a stream (default 3)
    x-fake-chunk-delay: 0.1      waits between two chunks
    x-fake-wait-file: PATH       after the first chunk, waits until PATH exists (for tests without a clock)
    x-fake-body-bytes: 1000000   answers with a body of that many bytes "x", Content-Length given
    x-fake-no-length: 1          …without a length, ended by closing
    x-fake-die: before           exits (SIGKILL to itself) once the request was read, before a response byte
    x-fake-die: middle           …after the first chunk of a stream, or half of a body
    x-fake-die: close            closes the connection without a response, and goes on serving
    x-fake-hang: 1               stops the event loop: nothing of this replica answers from then on
    x-fake-exit: 3               answers, then exits with that code
    x-fake-wire: half-head       sends half of a response's head, and no more
    x-fake-wire: half-head-end   …and closes the connection
    x-fake-wire: no-end          sends half of a body whose length it announced, and no more
    x-fake-wire: reset           begins a stream of events, and closes the connection after the first
    x-fake-wire: garbage         sends what is no response
    x-fake-wire: trickle         sends a body of ten bytes, one byte at a time
    x-fake-wire: flood           sends a head that does not end
    x-fake-wire: twice           sends two responses at once
    x-fake-print: 1000           prints that many lines of 100 characters, then answers
    x-fake-keep: 100             takes that many MiB of memory for good
    x-fake-grow: 1               takes memory until there is no more, and is then killed, as the kernel does it
    upgrade: websocket           accepts it; from then on everything is echoed

POST bodies may be sized or chunked. `GET /fake/seen` answers `{"requests": N, "connections": N, "open": N, "gone": N}`:
requests read in full, connections accepted and open now, and clients that left before their response was complete.
`GET /fake/process` tells how the process found itself when it was started: environment, argv, and the like.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

PROGRAM = Path(__file__).resolve()

_kept_open: list[IO[str]] = []
_kept: list[bytes] = []
_REASONS = {200: "OK", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error"}


def load() -> None:
    if reason := os.environ.get("FAKE_LOAD_FAILS"):
        raise RuntimeError(reason)
    if name := os.environ.get("FAKE_LOAD_THREAD"):
        threading.Thread(target=threading.Event().wait, name=name, daemon=True).start()
    if path := os.environ.get("FAKE_LOAD_OPENS"):
        _kept_open.append(Path(path).open(encoding="utf-8"))  # noqa: SIM115  # open is the point
    if name := os.environ.get("FAKE_LOAD_SETS"):
        os.environ[name] = "by load"
    if path := os.environ.get("FAKE_LOAD_WAITS"):
        while not Path(path).exists():
            time.sleep(0.005)
    os.environ.get("FAKE_LOAD_READS")


def serve(arguments: list[str], socket_path: str) -> None:
    found = _process()
    setting = os.environ.get
    if text := setting("FAKE_PRINT"):
        print(text)
        print(f"to stderr: {text}", file=sys.stderr)
    if setting("FAKE_CHILD"):
        _leave_a_child()
    time.sleep(float(setting("FAKE_BOOT_SECONDS", "0")))
    if (path := setting("FAKE_MIGRATES")) and setting("DISABLE_SCHEMA_UPDATE") != "true":
        while not Path(path).exists():
            time.sleep(0.005)
    if code := setting("FAKE_EXIT_STARTING"):
        sys.exit(int(code))
    asyncio.run(_Fake(found, _configured_models(arguments)).run(socket_path))


def _configured_models(arguments: list[str]) -> list[str]:
    if "--config" not in arguments:
        return ["fake"]
    file = Path(arguments[arguments.index("--config") + 1])
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return re.findall(r"model_name: (\S+)", text) or ["fake"]


def _settable(mask: int) -> list[int]:
    """The signals of a mask. Without the C library's own two, 32 and 33: `make` starts its children with them ignored.

    Nobody can set them back through the C library, and it takes them for itself when it needs them.
    """
    return [number for number in sorted(signal.valid_signals()) if mask >> (number - 1) & 1]


def _process() -> dict[str, Any]:
    fields = (line.split(":\t") for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    masks = {name: int(value, 16) for name, value in fields if name in {"SigBlk", "SigIgn"}}
    return {
        "environment": dict(os.environ),
        "argv": sys.argv,
        "cwd": str(Path.cwd()),
        "path": sys.path,
        "descriptors": sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir() if entry.exists()),
        "stdin": str(Path("/proc/self/fd/0").readlink()),
        "blocked": _settable(masks["SigBlk"]),
        "ignored": _settable(masks["SigIgn"]),
        "random": random.random(),
        "threads": threading.active_count(),
    }


def _leave_a_child() -> None:
    if os.fork() == 0:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()


@dataclass
class _Request:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def get(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.headers if key == name), default)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def echo(self) -> dict[str, Any]:
        text = self.body.decode("utf-8", "replace") if len(self.body) < 65536 else None
        return {
            "method": self.method,
            "target": self.target,
            "headers": self.headers,
            "body_bytes": len(self.body),
            "body": text,
        }


@dataclass
class _Fake:
    found: dict[str, Any]
    models: list[str]
    requests: int = 0
    connections: int = 0
    open: int = 0
    gone: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    code: int = 0

    async def run(self, socket_path: str) -> None:
        loop = asyncio.get_running_loop()
        ignore = bool(os.environ.get("FAKE_IGNORE_TERM"))
        loop.add_signal_handler(signal.SIGTERM, (lambda: None) if ignore else self.stopping.set)
        Path(socket_path).unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._connection, socket_path, limit=1 << 20)
        print(f"listening on {socket_path}")
        if after := os.environ.get("FAKE_EXIT_AFTER"):
            loop.call_later(float(after), self._exit, int(os.environ.get("FAKE_EXIT_CODE", "1")))
        if after := os.environ.get("FAKE_HANG_AFTER"):
            loop.call_later(float(after), time.sleep, 3600)
        await self.stopping.wait()
        server.close()
        sys.exit(self.code)

    def _exit(self, code: int) -> None:
        self.code = code
        self.stopping.set()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while (request := await _read(reader)) is not None:
                self.requests += 1
                try:
                    if not await self._answer(request, reader, writer):
                        break
                except ConnectionError:
                    self.gone += 1
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _answer(self, request: _Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays open."""
        await asyncio.sleep(float(request.get("x-fake-delay", "0")))
        if request.get("x-fake-hang"):
            time.sleep(3600)
        match request.get("x-fake-die"):
            case "before":
                os.kill(os.getpid(), signal.SIGKILL)
            case "close":
                return False
        if kind := request.get("x-fake-wire"):
            return await _misbehave(kind, writer)
        if lines := request.get("x-fake-print"):
            for number in range(int(lines)):
                print(f"{number:<100}")
        if size := request.get("x-fake-keep"):
            _kept.append(b"x" * (int(size) << 20))
        if request.get("x-fake-grow"):
            _grow()
        if request.get("upgrade") == "websocket":
            return await _echo(reader, writer)
        if request.path == "/fake/seen":
            seen = {"requests": self.requests, "connections": self.connections, "open": self.open, "gone": self.gone}
            return await self._json(request, writer, seen)
        if request.path == "/fake/process":
            return await self._json(request, writer, self.found)
        if request.path == "/health/readiness":
            status = int(os.environ.get("FAKE_READINESS", "200"))
            return await self._json(request, writer, {"status": "fake"}, status)
        if request.path.startswith("/health/"):
            return await self._json(request, writer, "I'm alive!")
        if request.path in {"/models", "/v1/models"}:
            models = [{"id": name, "object": "model"} for name in self.models]
            return await self._json(request, writer, {"object": "list", "data": models})
        if size := request.get("x-fake-body-bytes"):
            return await self._bulk(request, writer, int(size))
        if request.path.endswith("/chat/completions"):
            return await self._chat(request, writer)
        return await self._json(request, writer, {"echo": request.echo()})

    async def _chat(self, request: _Request, writer: asyncio.StreamWriter) -> bool:
        try:
            asked = json.loads(request.body or b"{}")
        except ValueError:
            asked = {}
        if isinstance(asked, dict) and asked.get("stream"):
            return await self._stream(request, writer)
        message = {"role": "assistant", "content": "hello from the fake"}
        answer = {
            "id": "fake",
            "object": "chat.completion",
            "model": asked.get("model", "fake") if isinstance(asked, dict) else "fake",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
            "echo": request.echo(),
        }
        return await self._json(request, writer, answer)

    async def _stream(self, request: _Request, writer: asyncio.StreamWriter) -> bool:
        writer.write(_head(int(request.get("x-fake-status", "200")), "text/event-stream", "transfer-encoding: chunked"))
        for number in range(int(request.get("x-fake-chunks", "3"))):
            if number:
                await self._between_chunks(request, writer, number)
            delta = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": str(number)}}]}
            await _chunk(writer, f"data: {json.dumps(delta)}\n\n".encode())
        await _chunk(writer, b"data: [DONE]\n\n")
        await _chunk(writer, b"")
        return self._goes_on(request)

    async def _between_chunks(self, request: _Request, writer: asyncio.StreamWriter, number: int) -> None:
        if number == 1 and request.get("x-fake-die") == "middle":
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 1 and (name := request.get("x-fake-wait-file")):
            while not await asyncio.to_thread(Path(name).exists):
                await asyncio.sleep(0.005)
        await asyncio.sleep(float(request.get("x-fake-chunk-delay", "0")))
        if writer.is_closing():
            raise ConnectionResetError

    async def _bulk(self, request: _Request, writer: asyncio.StreamWriter, size: int) -> bool:
        no_length = bool(request.get("x-fake-no-length"))
        writer.write(_head(200, "text/plain", "connection: close" if no_length else f"content-length: {size}"))
        left = size
        while left:
            piece = min(left, 65536, size if left < size else max(size // 2, 1))
            writer.write(b"x" * piece)
            left -= piece
            await writer.drain()
            if request.get("x-fake-die") == "middle" and left <= size // 2:
                os.kill(os.getpid(), signal.SIGKILL)
        return self._goes_on(request) and not no_length

    async def _json(self, request: _Request, writer: asyncio.StreamWriter, value: object, status: int = 200) -> bool:
        body = json.dumps(value).encode()
        status = int(request.get("x-fake-status", str(status)))
        if request.method == "HEAD":
            body = b""
        head = _head(status, "application/json", f"content-length: {len(body)}")
        if request.get("x-fake-die") == "middle":
            writer.write(head + body[: len(body) // 2])
            await writer.drain()
            os.kill(os.getpid(), signal.SIGKILL)
        writer.write(head + body)
        await writer.drain()
        return self._goes_on(request)

    def _goes_on(self, request: _Request) -> bool:
        if code := request.get("x-fake-exit"):
            asyncio.get_running_loop().call_later(0.01, self._exit, int(code))
        return request.get("connection").lower() != "close"


def _head(status: int, content_type: str, framing: str) -> bytes:
    reason = _REASONS.get(status, "Unknown")
    lines = (
        f"HTTP/1.1 {status} {reason}",
        f"content-type: {content_type}",
        framing,
        f"x-fake-replica: {os.getpid()}",
        "\r\n",
    )
    return "\r\n".join(lines).encode()


async def _misbehave(kind: str, writer: asyncio.StreamWriter) -> bool:
    """Returns when the other side has had enough, where this one goes on or waits."""
    begun = b"HTTP/1.1 200 OK\r\n"
    sized = begun + b"content-type: text/plain\r\ncontent-length: 10\r\n\r\n"
    match kind:
        case "half-head" | "half-head-end":
            writer.write(begun + b"content-le")
        case "no-end":
            writer.write(sized + b"01234")
        case "reset":
            writer.write(_head(200, "text/event-stream", "transfer-encoding: chunked"))
            await _chunk(writer, b'data: {"choices": []}\n\n')
        case "garbage":
            writer.write(b"\0\xff\x80 this is no answer\r\n\r\n")
        case "trickle":
            writer.write(sized)
            for digit in b"0123456789":
                writer.write(bytes([digit]))
                await writer.drain()
                await asyncio.sleep(0.1)
            return True
        case "flood":
            writer.write(begun)
            while not writer.is_closing():
                writer.write(b"x-more: " + b"x" * 1000 + b"\r\n")
                await writer.drain()
        case "twice":
            writer.write(sized + b"the first!" + sized + b"the second")
            return True
    await writer.drain()
    while kind in {"half-head", "no-end"} and not writer.is_closing():
        await asyncio.sleep(0.02)
    return False


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    return False


def _grow() -> None:
    taken = []
    try:
        while True:
            taken.append(bytearray(16 << 20))
    except MemoryError:
        os.kill(os.getpid(), signal.SIGKILL)


async def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    await writer.drain()


async def _read(reader: asyncio.StreamReader) -> _Request | None:
    """The next request, or None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    request = _Request(method, target, headers)
    if "chunked" in request.get("transfer-encoding").lower():
        pieces = []
        while size := int((await reader.readline()).partition(b";")[0], 16):
            pieces.append(await reader.readexactly(size))
            await reader.readexactly(2)
        while (await reader.readline()).strip():
            pass
        request.body = b"".join(pieces)
    else:
        request.body = await reader.readexactly(int(request.get("content-length", "0")))
    return request


if __name__ == "__main__":  # python tests/fake_litellm.py SOCKET
    with contextlib.suppress(KeyboardInterrupt):
        load()
        serve([], sys.argv[1])
