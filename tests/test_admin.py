from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from supervisor.admin import AdminServer, means_loopback
from supervisor.errors import LitesupError
from supervisor.observe.metrics import Metrics
from supervisor.settings.schema import Admin
from tests.scripted_operations import pool_status

METRICS = Metrics(pool_status, dropped_lines=lambda: 0)


@pytest.fixture
async def admin() -> AsyncIterator[AdminServer]:
    admin = AdminServer(Admin(port=0), pool_status, METRICS)
    await admin.start()
    yield admin
    await admin.stop()


async def get(admin: AdminServer, path: str, **headers: str) -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as session, session.get(admin.listening[0] + path, headers=headers) as answer:
        return answer.status, answer.headers.get("content-type", ""), await answer.text()


async def test_the_status_is_the_document_that_the_command_shows(admin: AdminServer) -> None:
    async with aiohttp.ClientSession() as session, session.get(admin.listening[0] + "/status") as answer:
        document = await answer.json()
    assert document["replicas"][0]["state"] == "ready"
    assert document["daemon"]["condition"] == "ready"
    assert document["version"] == 1


async def test_metrics_are_in_prometheuss_format(admin: AdminServer) -> None:
    status, kind, text = await get(admin, "/metrics")
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    assert "litesup_replicas_wanted 3.0" in text


async def test_the_first_page_says_what_there_is(admin: AdminServer) -> None:
    assert "/metrics" in (await get(admin, "/"))[2]
    assert (await get(admin, "/nothing"))[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8001", "localhost.evil.example", "10.0.0.5", "[::2]"])
async def test_a_page_that_rebound_its_name_to_loopback_reads_nothing(admin: AdminServer, host: str) -> None:
    status, _kind, text = await get(admin, "/status", Host=host)
    assert status == 421
    assert "replicas" not in text


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LOCALHOST:8001", True),
        ("127.0.0.1:8001", True),
        ("127.1.2.3", True),
        ("[::1]:8001", True),
        ("[::1]", True),
        ("", False),
        ("0x7f.1", False),
        ("127.0.0.1.evil.example", False),
        ("localhost@evil.example", False),
    ],
)
def test_what_means_loopback(host: str, loopback: bool) -> None:
    assert means_loopback(host) is loopback


async def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LitesupError, match=rf"127\.0\.0\.1:{port} cannot be used.*admin\.port"):
            await AdminServer(Admin(port=port), pool_status, METRICS).start()


async def test_switched_off_it_listens_nowhere_and_stops_in_peace() -> None:
    admin = AdminServer(Admin(enabled=False), pool_status, METRICS)
    await admin.start()
    assert admin.listening == ()
    await admin.stop()


async def test_stopping_does_not_wait_for_an_idle_client(admin: AdminServer) -> None:
    host, port = admin.listening[0].removeprefix("http://").split(":")
    _reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(10):
        await admin.stop()
        await admin.stop()
    writer.close()
