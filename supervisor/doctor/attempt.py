"""One HTTP request as a client without a key makes it, and what came of it. No proxy settings are obeyed."""

from __future__ import annotations

import http.client
import json
import socket
import time
import urllib.parse

from supervisor.doctor.diagnosis import Attempt, Failure
from supervisor.observe.redact import Redactor

MOST = 256 * 1024
LONGEST_MESSAGE = 600
CONNECT_TIMEOUT = 5.0

PROMPT = "Reply with the single word: pong"


def get_health(base: str, redact: Redactor) -> Attempt:
    return _attempt("GET", base, "/health", None, CONNECT_TIMEOUT, redact)


def post_chat(base: str, model: str, timeout: float, redact: Redactor) -> Attempt:
    """As the guide's application does: no Authorization, no `/v1`."""
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 16}
    return _attempt("POST", base, "/chat/completions", body, timeout, redact)


def _attempt(
    method: str, base: str, path: str, body: dict[str, object] | None, timeout: float, redact: Redactor
) -> Attempt:
    parts = urllib.parse.urlsplit(base)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=min(timeout, CONNECT_TIMEOUT))
    began = time.monotonic()

    def failed(failure: Failure, error: BaseException) -> Attempt:
        return Attempt(time.monotonic() - began, failure=failure, message=redact(str(error)))

    try:
        connection.connect()
        connection.sock.settimeout(timeout)
        payload = None if body is None else json.dumps(body)
        connection.request(
            method, parts.path.rstrip("/") + path, payload, {"content-type": "application/json"} if payload else {}
        )
        response = connection.getresponse()
        text = response.read(MOST).decode("utf-8", "replace")
    except TimeoutError as error:
        return failed(Failure.TIMEOUT, error)
    except ConnectionRefusedError as error:
        return failed(Failure.REFUSED, error)
    except (http.client.HTTPException, ConnectionError) as error:
        return failed(Failure.CUT, error)
    except (OSError, socket.gaierror) as error:
        return failed(Failure.UNREACHABLE, error)
    finally:
        connection.close()
    message = "" if response.status == 200 else redact(_message(text))[:LONGEST_MESSAGE]
    return Attempt(time.monotonic() - began, response.status, None, message, own=message.startswith("litesup: "))


def _message(text: str) -> str:
    """The error's text in OpenAI's shape; the body itself where it has another."""
    try:
        document = json.loads(text)
        error = document.get("error", document) if isinstance(document, dict) else document
        message = error.get("message", error) if isinstance(error, dict) else error
    except ValueError:
        message = text
    return " ".join(str(message).split())
