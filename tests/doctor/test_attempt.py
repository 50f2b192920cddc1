from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from supervisor.doctor.attempt import get_health, post_chat
from supervisor.doctor.diagnosis import Attempt, Failure
from supervisor.observe.redact import Redactor

REDACT = Redactor({"AZURE_API_KEY": "very-secret-value"})


class Server:
    def __init__(self) -> None:
        self.answer = web.Response(text="ok")
        self.delay = 0.0
        self.asked: list[tuple[str, dict[str, str], object]] = []
        self.base = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append((request.path, dict(request.headers), json.loads(body) if body else None))
        if self.delay:
            await asyncio.sleep(self.delay)
        return self.answer


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


async def chat(server: Server, timeout: float = 20.0) -> Attempt:
    return await asyncio.to_thread(post_chat, server.base, "gpt-4", timeout, REDACT)


async def test_it_asks_as_the_application_does_without_a_key_and_without_v1(server: Server) -> None:
    assert (await chat(server)).status == 200
    ((path, headers, body),) = server.asked
    assert path == "/chat/completions"
    assert not {"authorization", "api-key", "x-api-key"} & {name.lower() for name in headers}
    assert isinstance(body, dict)
    assert body["model"] == "gpt-4"


async def test_the_errors_own_words_are_kept_and_its_secrets_are_not(server: Server) -> None:
    document = {"error": {"message": "AzureException - key\nvery-secret-value is wrong", "code": "401"}}
    server.answer = web.json_response(document, status=401)
    attempt = await chat(server)
    assert (attempt.status, attempt.message, attempt.own) == (401, "AzureException - key *** is wrong", False)


@pytest.mark.parametrize("body", ['{"error": "text"}', '"text"', "text", '{"detail": "text"}', "[1, 2"])
async def test_an_error_of_any_shape_is_shown(server: Server, body: str) -> None:
    server.answer = web.Response(text=body, status=500)
    assert (await chat(server)).message


async def test_what_litesup_says_itself_is_recognised(server: Server) -> None:
    server.answer = web.json_response({"error": {"message": "litesup: no key"}}, status=401)
    assert (await chat(server)).own


async def test_silence_is_a_timeout(server: Server) -> None:
    server.delay = 30.0
    assert (await chat(server, timeout=0.2)).failure is Failure.TIMEOUT


def test_a_closed_port_is_refused() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert get_health(f"http://127.0.0.1:{port}", REDACT).failure is Failure.REFUSED


def test_something_that_does_not_speak_http_is_not_an_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        import threading

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-something\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        attempt = get_health(f"http://127.0.0.1:{listener.getsockname()[1]}", REDACT)
        thread.join()
    assert attempt.failure is Failure.CUT


def test_an_address_that_is_none_is_unreachable() -> None:
    assert get_health("http://[::ffff:0:0:1:2:3]:1", REDACT).failure in {Failure.UNREACHABLE, Failure.TIMEOUT}
