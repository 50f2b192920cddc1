"""What the balancer answers by itself: refusals, failures and the pool's health. Pure, but for the date.

Owns the shapes and the wording. Errors have the shape that OpenAI's clients read; those that may be repeated say so in
the headers that these clients obey.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from supervisor.balancer.refusals import METHODS
from supervisor.policy.access import Refusal
from supervisor.policy.routes import OTHER, POOL_HEALTH_PATH
from supervisor.status import Condition, Status

_TYPES = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "permission_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    414: "invalid_request_error",
    417: "invalid_request_error",
    431: "invalid_request_error",
    501: "invalid_request_error",
    503: "service_unavailable_error",
    504: "timeout_error",
    505: "invalid_request_error",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is all here. `headers` are those that its status and body have to come with."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def written(self, *, keep_alive: bool, http_1_0: bool = False, head_only: bool = False) -> bytes:
        """As it goes to the client. `head_only` is true for HEAD."""
        fields = [f"{name}: {value}\r\n" for name, value in self.headers.items()]
        if not keep_alive:
            fields.append("Connection: close\r\n")
        elif http_1_0:
            fields.append("Connection: keep-alive\r\n")
        head = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n{''.join(fields)}"
            f"Content-Length: {len(self.body)}\r\nDate: {formatdate(usegmt=True)}\r\nServer: litesup\r\n\r\n"
        )
        return head.encode("ascii", "replace") + (b"" if head_only else self.body)


def refused(refusal: Refusal, request_id: str) -> Reply:
    """With the headers that its status has to come with: RFC 9110, section 15."""
    match refusal.status:
        case 401:
            headers = {"WWW-Authenticate": "Bearer"}
        case 405:
            headers = {"Allow": ", ".join(METHODS)}
        case 503:
            headers = _retry_after(1.0)
        case _:
            headers = {}
    return _error(refusal.status, refusal.code, refusal.message, request_id, headers)


def unavailable(message: str, request_id: str, *, retry_after: float) -> Reply:
    """503: nobody can take the request now. `retry_after` is in seconds."""
    return _error(503, "no_replica_ready", message, request_id, _retry_after(retry_after))


def failed(message: str, request_id: str, *, repeatable: bool) -> Reply:
    """502: a replica took the request and gave no answer that could be passed on."""
    return _error(502, "replica_failed", message, request_id, {"X-Should-Retry": "true" if repeatable else "false"})


def timed_out(message: str, request_id: str) -> Reply:
    """504: a replica took the request and was silent for too long."""
    return _error(504, "replica_timeout", message, request_id, {"X-Should-Retry": "false"})


def broken(request_id: str) -> Reply:
    """500: the balancer itself failed; its log says how."""
    return _error(500, "internal_error", "the request could not be handled; see litesup's log", request_id, {})


def health(path: str, status: Status, request_id: str) -> Reply:
    """200 while at least one replica is ready and the daemon is not stopping."""
    ready = status.ready_replicas > 0 and status.daemon.condition is not Condition.STOPPING
    document: dict[str, Any]
    if path == POOL_HEALTH_PATH:
        document = _pool_document(status, ready=ready)
    else:
        document = {"status": "healthy" if ready else "unavailable", "condition": status.daemon.condition.value}
    return _json(200 if ready else 503, document, request_id, {"Cache-Control": "no-store"})


def error_event(route: str, message: str) -> bytes:
    """The last event of a stream whose replica is gone, in the dialect of the API that was called.

    Empty where that is not known: an event of another dialect may pass for part of the answer.
    """
    if route == "messages":
        return _event({"type": "error", "error": {"type": "api_error", "message": message}}, name="error")
    if route == "responses":
        document = {"type": "error", "code": "server_error", "message": message, "param": None}
        return _event(document, name="error")
    if route == OTHER:
        return b""
    return _event(_error_document(502, "replica_failed", message))


def _retry_after(seconds: float) -> dict[str, str]:
    return {
        "Retry-After": str(max(1, math.ceil(seconds))),
        "Retry-After-Ms": str(max(1, round(seconds * 1000))),
        "X-Should-Retry": "true",
    }


def _pool_document(status: Status, *, ready: bool) -> dict[str, Any]:
    """LiteLLM's own field names, about replicas: what is counted here costs no token."""
    well = {"ready"}
    replicas = [{"replica": replica.slot, "state": replica.state.lower()} for replica in status.replicas]
    healthy = [replica for replica in replicas if replica["state"] in well]
    unhealthy = [replica for replica in replicas if replica["state"] not in well]
    return {
        "status": "healthy" if ready else "unavailable",
        "condition": status.daemon.condition.value,
        "healthy_endpoints": healthy,
        "unhealthy_endpoints": unhealthy,
        "healthy_count": len(healthy),
        "unhealthy_count": len(unhealthy),
        "wanted_count": status.wanted_replicas,
    }


def _error(status: int, code: str, message: str, request_id: str, headers: dict[str, str]) -> Reply:
    return _json(status, _error_document(status, code, message), request_id, headers)


def _error_document(status: int, code: str, message: str) -> dict[str, Any]:
    kind = _TYPES.get(status, "server_error")
    return {"error": {"message": f"litesup: {message}", "type": kind, "param": None, "code": code}}


def _json(status: int, document: dict[str, Any], request_id: str, headers: dict[str, str]) -> Reply:
    fields = {"Content-Type": "application/json", "X-Request-Id": request_id, **headers}
    return Reply(status, fields, json.dumps(document).encode())


def _event(document: dict[str, Any], *, name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(document)}\n\n".encode()
