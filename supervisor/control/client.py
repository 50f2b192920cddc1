"""The command line's end of the control socket. Synchronous, and built on the standard library to import quickly."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from supervisor.control import lock, wire
from supervisor.control.operations import HistoryEntry, LogLine, ReloadOutcome
from supervisor.errors import ExitCode, LitesupError, NoDaemon
from supervisor.status import Status

TIMEOUT = 10.0
"""Seconds for an answer that the daemon gives at once."""

LONG = 3600.0
"""Seconds for one that waits for replicas: they drain for 600 s each by default."""


class DaemonError(LitesupError):
    """What the daemon answered instead of doing it, with the exit code that it chose."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        self.exit_code = exit_code
        super().__init__(message)


class ControlClient:
    """Asks the daemon of one runtime directory. Every method raises NoDaemon when none answers there."""

    def __init__(self, runtime_dir: Path) -> None:
        self._runtime_dir = runtime_dir
        self._path = runtime_dir / wire.SOCKET_NAME

    def status(self, *, timeout: float = TIMEOUT) -> Status:
        return wire.status_from_json(self.status_document(timeout=timeout))

    def status_document(self, *, timeout: float = TIMEOUT) -> dict[str, Any]:
        return self._ask("GET", "/status", timeout=timeout)

    def reload(self, *, wait: bool) -> ReloadOutcome:
        return wire.outcome_from_json(self._ask("POST", "/reload", {"wait": wait}, timeout=LONG if wait else 60.0))

    def rollback(self, digest: str | None, *, wait: bool) -> ReloadOutcome:
        asked = {"digest": digest, "wait": wait}
        return wire.outcome_from_json(self._ask("POST", "/rollback", asked, timeout=LONG if wait else 60.0))

    def history_document(self) -> dict[str, Any]:
        return self._ask("GET", "/history")

    def history(self) -> tuple[HistoryEntry, ...]:
        return wire.history_from_json(self.history_document())

    def restart(self, slots: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self._ask("POST", "/restart", {"slots": list(slots)}, timeout=LONG)["slots"])

    def scale(self, count: int) -> None:
        self._ask("POST", "/scale", {"count": count})

    def drain(self, slot: int) -> None:
        self._ask("POST", "/drain", {"slot": slot}, timeout=LONG)

    def stop(self) -> None:
        self._ask("POST", "/stop", {})

    def gone(self) -> bool:
        """Whether no daemon holds the runtime directory any more."""
        return lock.holder(self._runtime_dir) is None

    def wait_gone(self, timeout: float) -> Iterator[Status | None]:
        """Yields the status, None when there is none to be had, several times a second until the daemon is gone.

        Returns in silence when `timeout` seconds are over; `gone` then says how it ended.
        """
        deadline = time.monotonic() + timeout
        while not self.gone() and time.monotonic() < deadline:
            try:
                yield self.status(timeout=1.0)
            except LitesupError:
                yield None
            time.sleep(0.1)

    def log_lines(self, slots: tuple[int, ...], *, follow: bool) -> Iterator[LogLine]:
        """The lines kept, then with `follow` new ones until the daemon ends. Close the iterator to leave earlier."""
        query = "&".join([*(f"slot={slot}" for slot in slots), *(["follow=1"] if follow else [])])
        connection, response = self._send("GET", f"/logs?{query}", None, None if follow else TIMEOUT)
        try:
            self._check(response)
            while line := response.readline():
                yield wire.log_line_from_json(json.loads(line))
        except (http.client.HTTPException, OSError, ValueError):
            if not follow:
                raise LitesupError("the daemon broke off in the middle of its answer") from None
        finally:
            connection.close()

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, timeout: float = TIMEOUT
    ) -> dict[str, Any]:
        connection, response = self._send(method, path, body, timeout)
        try:
            self._check(response)
            answer: dict[str, Any] = json.loads(response.read())
        except TimeoutError:
            raise self._silent(timeout) from None
        except (http.client.HTTPException, OSError, ValueError):
            raise LitesupError("the daemon broke off in the middle of its answer") from None
        finally:
            connection.close()
        return answer

    def _send(
        self, method: str, path: str, body: dict[str, Any] | None, timeout: float | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = _UnixConnection(self._path, timeout)
        try:
            connection.connect()
        except PermissionError:
            connection.close()
            raise LitesupError(
                f"{self._path} belongs to another user; run this as the user that runs litesup"
            ) from None
        except OSError:
            connection.close()
            raise NoDaemon(
                f"no daemon answers in {self._runtime_dir}; start one with: litesup start, "
                "or name its directory with --runtime-dir"
            ) from None
        try:
            payload = None if body is None else json.dumps(body).encode()
            connection.request(method, path, payload, {"content-type": "application/json"} if payload else {})
            return connection, connection.getresponse()
        except TimeoutError:
            connection.close()
            raise self._silent(timeout) from None
        except (http.client.HTTPException, OSError):
            connection.close()
            raise LitesupError("the daemon ended the conversation without an answer") from None

    def _silent(self, timeout: float | None) -> LitesupError:
        holder = lock.holder(self._runtime_dir)
        who = f" (pid {holder.pid})" if holder and holder.pid else ""
        return LitesupError(f"the daemon{who} did not answer within {timeout:g} s")

    def _check(self, response: http.client.HTTPResponse) -> None:
        if response.status == 200:
            return
        try:
            error = json.loads(response.read())["error"]
            raise DaemonError(str(error["message"]), ExitCode(error["exit_code"]))
        except (ValueError, KeyError, TypeError):
            raise LitesupError(f"the daemon answered {response.status} {response.reason}") from None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("litesup", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))
