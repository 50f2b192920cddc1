"""The daemon's end of the control socket: JSON over HTTP on a unix socket that only its owner can open.

Translates requests into calls of `Operations` and knows nothing of how those are done. A client that leaves does not
undo what it began; one that reads nothing is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import structlog
from aiohttp import web

from supervisor.control import wire
from supervisor.control.operations import LogLine, Operations
from supervisor.errors import ConfigurationRefused, ExitCode, LitesupError

WRITE_TIMEOUT = 10.0
"""Seconds that a client of `logs` may take to read what was sent, before it is cut off."""

MOST_READERS = 32
BODY_LIMIT = 64 * 1024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
T = TypeVar("T")
log = structlog.get_logger("litesup.control")


class BadRequest(LitesupError):
    """The request is not one that this socket answers."""

    exit_code = ExitCode.USAGE


class ControlServer:
    """Serves `operations` on the socket `path`. The caller holds the instance lock of its directory."""

    def __init__(self, path: Path, operations: Operations) -> None:
        self._path = path
        self._operations = operations
        self._runner: web.AppRunner | None = None
        self._begun: set[asyncio.Task[Any]] = set()
        self._readers: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listens. A socket file that an earlier daemon left behind is replaced."""
        app = web.Application(middlewares=[_errors_as_json], client_max_size=BODY_LIMIT)
        app.add_routes(
            [
                web.get("/status", self._status),
                web.get("/logs", self._logs),
                web.get("/history", self._history),
                web.post("/reload", self._reload),
                web.post("/rollback", self._rollback),
                web.post("/restart", self._restart),
                web.post("/scale", self._scale),
                web.post("/drain", self._drain),
                web.post("/stop", self._stop),
            ]
        )
        # Without cancellation a follower of the log whose client is gone would stay until the next line comes.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.SockSite(self._runner, _private_socket(self._path)).start()

    async def stop(self) -> None:
        """Ends every exchange and removes the socket. Does nothing the second time."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        self._path.unlink(missing_ok=True)
        ending = self._begun | self._readers
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await runner.cleanup()

    async def _status(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._operations.status().as_json())

    async def _reload(self, request: web.Request) -> web.StreamResponse:
        wait = (await _body(request)).get("wait", False)
        if not isinstance(wait, bool):
            raise BadRequest("wait should be true or false")
        return web.json_response(wire.outcome_to_json(await self._see_through(self._operations.reload(wait=wait))))

    async def _rollback(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        wait, digest = body.get("wait", False), body.get("digest")
        if not isinstance(wait, bool):
            raise BadRequest("wait should be true or false")
        if digest is not None and not (isinstance(digest, str) and digest):
            raise BadRequest("digest should be a text, or be left out")
        outcome = await self._see_through(self._operations.rollback(digest, wait=wait))
        return web.json_response(wire.outcome_to_json(outcome))

    async def _history(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(wire.history_to_json(await self._operations.history()))

    async def _restart(self, request: web.Request) -> web.StreamResponse:
        slots = (await _body(request)).get("slots", [])
        if not isinstance(slots, list) or not all(_is_number(slot) for slot in slots):
            raise BadRequest("slots should be a list of numbers")
        return web.json_response({"slots": list(await self._see_through(self._operations.restart(tuple(slots))))})

    async def _scale(self, request: web.Request) -> web.StreamResponse:
        count: Any = (await _body(request)).get("count")
        if not _is_number(count) or count < 1:
            raise BadRequest("count should be a number of replicas, at least 1")
        await self._see_through(self._operations.scale(count))
        return web.json_response({})

    async def _drain(self, request: web.Request) -> web.StreamResponse:
        slot: Any = (await _body(request)).get("slot")
        if not _is_number(slot):
            raise BadRequest("slot should be a number")
        await self._see_through(self._operations.drain(slot))
        return web.json_response({})

    async def _stop(self, request: web.Request) -> web.StreamResponse:
        await self._see_through(self._operations.stop())
        return web.json_response({})

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        try:
            slots = tuple(int(text) for text in request.query.getall("slot", []))
        except ValueError:
            raise BadRequest("slot should be a number") from None
        follow = request.query.get("follow") == "1"
        with self._one_more_reader():
            response = web.StreamResponse(headers={"content-type": "application/x-ndjson"})
            await response.prepare(request)
            async with _closing(self._operations.log_lines(slots, follow=follow)) as lines:
                async for line in lines:
                    text = json.dumps(wire.log_line_to_json(line), ensure_ascii=False) + "\n"
                    try:
                        async with asyncio.timeout(WRITE_TIMEOUT):
                            await response.write(text.encode("utf-8", "replace"))
                    except (TimeoutError, ConnectionError):
                        if request.transport is not None:
                            request.transport.abort()
                        break
            return response

    @contextlib.contextmanager
    def _one_more_reader(self) -> Iterator[None]:
        if len(self._readers) >= MOST_READERS:
            raise LitesupError(f"{MOST_READERS} readers of the log are connected already")
        task = asyncio.current_task()
        assert task is not None, "a request is always handled in a task"
        self._readers.add(task)
        try:
            yield
        finally:
            self._readers.discard(task)

    async def _see_through(self, operation: Coroutine[Any, Any, T]) -> T:
        """Awaits an operation that goes on when the client that asked for it leaves."""
        task = asyncio.create_task(operation)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return await asyncio.shield(task)


@contextlib.asynccontextmanager
async def _closing(lines: AsyncIterator[LogLine]) -> AsyncIterator[AsyncIterator[LogLine]]:
    """Lets go of a follower at once, not when the garbage collector comes by."""
    try:
        yield lines
    finally:
        if (close := getattr(lines, "aclose", None)) is not None:
            await close()


def _private_socket(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listener.fileno(), 0o600)  # before bind: the file never exists with another mode
        listener.bind(os.fspath(path))
    except OSError as error:
        listener.close()
        raise LitesupError(f"cannot listen on {path}: {error.strerror or error}") from None
    return listener


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _error(error.status, f"{request.method} {request.path}: {error.reason}", ExitCode.USAGE)
    except BadRequest as error:
        return _error(400, str(error), error.exit_code)
    except ConfigurationRefused as error:
        return _error(409, str(error), error.exit_code)
    except LitesupError as error:
        return _error(409, str(error), error.exit_code)
    except Exception:
        log.exception("control_request_failed", path=request.path)
        return _error(500, "the daemon failed on this request; its log says how", ExitCode.FAILED)


def _error(status: int, message: str, exit_code: ExitCode) -> web.Response:
    return web.json_response({"error": {"message": message, "exit_code": int(exit_code)}}, status=status)


async def _body(request: web.Request) -> dict[str, Any]:
    if not request.can_read_body:
        return {}
    try:
        body = await request.json()
    except ValueError:
        raise BadRequest("the body should be JSON") from None
    if not isinstance(body, dict):
        raise BadRequest("the body should be a JSON object")
    return body


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
