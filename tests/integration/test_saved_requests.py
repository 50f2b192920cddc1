"""What clients see when replicas die and hang: a whole daemon, and real processes that are not LiteLLM."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from supervisor import events as ev
from tests.eventually import eventually
from tests.test_daemon import Scene, running

CHAT = "/v1/chat/completions"
BODY = {"model": "gpt-4", "messages": []}
KEY = {"Authorization": "Bearer sk-mine"}
CLIENTS = 16
# Quick enough for a test, slow enough for a machine that does other things.
HEALTH = {"interval": 0.3, "timeout": 0.6, "kill_after": 3.0}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=60), connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        yield session


def scene(folder: Path, count: int = 3) -> Scene:
    return Scene(folder, replicas={"count": count}, health=HEALTH)


async def ask(
    http: aiohttp.ClientSession, made: Scene, headers: dict[str, str] | None = None, path: str = CHAT
) -> tuple[int, Any, str | None]:
    async with http.post(made.url + path, json=BODY, headers={**KEY, **(headers or {})}) as response:
        return response.status, await response.json(), response.headers.get("x-should-retry")


async def load(http: aiohttp.ClientSession, made: Scene, until: asyncio.Event) -> Counter[int]:
    """Sixteen clients, one request after another; what they were answered."""
    statuses: Counter[int] = Counter()

    async def client() -> None:
        while not until.is_set():
            status, _, _ = await ask(http, made, {"x-fake-delay": "0.05"})
            statuses[status] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client())
    return statuses


def victim(made: Scene) -> int:
    """The process of a replica that holds requests."""
    busiest = max(made.daemon.status().replicas, key=lambda replica: replica.in_flight)
    assert busiest.pid is not None
    return busiest.pid if busiest.in_flight else 0


async def strike(made: Scene, number: int) -> int:
    pid = await eventually(lambda: victim(made), what="a replica holds requests")
    os.kill(pid, number)
    return pid


async def test_killed_replicas_cost_sixteen_clients_nothing(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    made = scene(tmp_path)
    async with running(made):
        await made.ready(3)
        done = asyncio.Event()
        clients = asyncio.create_task(load(http, made, done))
        for killed in range(1, 6):
            await strike(made, signal.SIGKILL)
            await eventually(lambda killed=killed: len(made.of(ev.ReplicaExited)) == killed, what="it is gone")
            await made.ready(3)
        done.set()
        statuses = await clients
    assert statuses.keys() == {200}
    assert {event.reason for event in made.of(ev.RequestRetried)} >= {"lost"}


async def test_a_replica_that_stops_costs_sixteen_clients_nothing_and_is_replaced(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    made = scene(tmp_path)
    async with running(made):
        await made.ready(3)
        done = asyncio.Event()
        clients = asyncio.create_task(load(http, made, done))
        pid = await strike(made, signal.SIGSTOP)
        await eventually(lambda: bool(made.of(ev.ReplicaSuspect)), what="it is suspect")
        await eventually(lambda: bool(made.of(ev.RequestRetried)), what="what it holds goes elsewhere")
        given_up_before_the_kill = not made.of(ev.ReplicaKilled)
        await eventually(lambda: bool(made.of(ev.ReplicaKilled)), what="it is killed")
        await made.ready(3)
        done.set()
        statuses = await clients
    assert given_up_before_the_kill
    assert statuses.keys() == {200}
    assert {event.reason for event in made.of(ev.RequestRetried)} >= {"given up"}
    stopped = next(event for event in made.of(ev.ReplicaSpawned) if event.pid == pid)
    assert [(event.replica, event.cause) for event in made.of(ev.ReplicaKilled)] == [
        (stopped.replica, ev.KillCause.HUNG)
    ]


async def test_a_request_that_kills_what_serves_it_takes_two_replicas_and_is_named(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    made = scene(tmp_path)
    async with running(made):
        await made.ready(3)
        status, document, repeat = await ask(http, made, {"x-fake-die": "before", "X-Request-ID": "the-poison"})
        assert (status, document["error"]["code"], repeat) == (502, "replica_failed", "false")
        await eventually(lambda: len(made.of(ev.ReplicaExited)) == 2, what="two are gone")
        (suspected,) = made.of(ev.RequestSuspected)
        assert (suspected.request_id, suspected.path, suspected.model) == ("the-poison", CHAT, "gpt-4")
        assert len(suspected.replicas) == 2
        await made.ready(3)
        assert (await ask(http, made))[0] == 200
        assert len(made.of(ev.ReplicaExited)) == 2


async def test_a_request_that_hangs_what_serves_it_takes_two_replicas_and_is_named(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    made = scene(tmp_path)
    async with running(made):
        await made.ready(3)
        status, _, repeat = await ask(http, made, {"x-fake-hang": "1"})
        assert (status, repeat) == (502, "false")
        assert [event.reason for event in made.of(ev.RequestRetried)] == ["given up"]
        assert len(made.of(ev.RequestSuspected)) == 1
        await eventually(lambda: len(made.of(ev.ReplicaExited)) == 2, what="two are gone")
        await made.ready(3)
        assert (await ask(http, made))[0] == 200


async def test_what_creates_something_is_lost_with_its_replica_and_the_client_is_told_not_to_repeat_it(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    made = scene(tmp_path, count=2)
    async with running(made):
        await made.ready(2)
        status, document, repeat = await ask(http, made, {"x-fake-die": "before"}, "/v1/files")
        assert (status, document["error"]["code"], repeat) == (502, "replica_failed", "false")
        await eventually(lambda: len(made.of(ev.ReplicaExited)) == 1, what="one is gone")
        assert not made.of(ev.RequestRetried)
        assert not made.of(ev.RequestSuspected)


async def test_a_stream_ends_with_an_error_event_where_its_replica_was_killed(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    made = scene(tmp_path, count=2)
    async with running(made):
        await made.ready(2)
        headers = {**KEY, "x-fake-die": "middle"}
        received = bytearray()

        async def read() -> None:
            async with http.post(made.url + CHAT, json={**BODY, "stream": True}, headers=headers) as response:
                assert response.status == 200
                async for piece in response.content.iter_any():
                    received.extend(piece)

        with pytest.raises(aiohttp.ClientPayloadError):
            await read()
        first, last = received.removesuffix(b"\n\n").split(b"\n\n")
        assert b'"content": "0"' in first
        assert last.startswith(b'data: {"error": {')
        assert [event.outcome for event in made.of(ev.RequestFinished)] == ["cut"]
