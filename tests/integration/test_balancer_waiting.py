"""Requests that wait, health that does not, and the orderly end."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from supervisor.balancer.listen import PortTaken, listen
from supervisor.errors import ConfigurationRefused
from supervisor.status import Condition
from tests.eventually import eventually
from tests.loops import on_both_loops
from tests.wire import CHAT, Call, ScriptedReplica, bench


@on_both_loops
async def test_a_request_waits_until_a_replica_is_there(directory: Path):
    async with bench() as b:
        client = await b.connect()
        await client.send("POST", CHAT, body=b"{}")
        await eventually(lambda: b.rotation.waiting == 1, within=5)
        await b.add(ScriptedReplica(directory))
        assert (await client.answer()).status == 200


@on_both_loops
async def test_a_full_queue_and_too_long_a_wait_are_503_and_say_when_to_come_back(directory: Path):
    async with bench(queue={"size": 1, "timeout": 0.5}) as b:
        client = await b.connect()
        await client.send("POST", CHAT, body=b"{}")
        await eventually(lambda: b.rotation.waiting == 1, within=5)
        full = await b.ask("POST", CHAT, body=b"{}")
        late = await client.answer()
        for answer in (full, late):
            assert answer.status == 503
            assert int(answer.one("retry-after")) >= 1
            assert int(answer.one("retry-after-ms")) >= 1
            assert answer.one("x-should-retry") == "true"
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert "full" in full.json()["error"]["message"]
        assert [event.outcome for event in b.seen] == ["unavailable"] * 2


@on_both_loops
async def test_health_is_answered_without_a_replica(directory: Path):
    paths = ("/health/liveliness", "/health/liveness", "/health/readiness", "/health")
    async with bench() as b:
        b.condition = Condition.STARTING
        for path in paths:
            assert (await b.ask("GET", path)).status == 503
        await b.add(ScriptedReplica(directory))
        b.condition = Condition.READY
        for path in paths:
            assert (await b.ask("GET", path)).status == 200
            assert (await b.ask("HEAD", path)).status == 200
        document = (await b.ask("GET", "/health")).json()
        assert (document["healthy_count"], document["unhealthy_count"]) == (1, 0)
        assert document["healthy_endpoints"] == [{"replica": 0, "state": "ready"}]
        assert not b.replicas[0].requests
        b.condition = Condition.STOPPING
        for path in paths:
            assert (await b.ask("GET", path)).status == 503
        assert (await b.ask("GET", "/health", {"Authorization": "Bearer sk-1"})).json() == {"hello": "world"}
        assert {event.route for event in b.seen} == {"health"}


@on_both_loops
async def test_health_is_open_to_addresses_that_are_not_allowed(directory: Path):
    async with bench(ScriptedReplica(directory), access={"allow": ["10.0.0.0/8"]}) as b:
        assert (await b.ask("GET", "/health/readiness")).status == 200
        assert (await b.ask("GET", "/health")).status == 200
        assert (await b.ask("POST", CHAT, {"Authorization": "Bearer sk-1"}, b"{}")).status == 403


@on_both_loops
async def test_removing_a_replica_closes_its_idle_connections(directory: Path):
    async with bench(ScriptedReplica(directory)) as b:
        await b.ask("POST", CHAT, body=b"{}")
        assert b.replicas[0].open == 1
        b.rotation.remove(1)
        await eventually(lambda: b.replicas[0].open == 0, within=2)


@on_both_loops
async def test_idle_connections_are_closed_after_their_time(directory: Path):
    async with bench(ScriptedReplica(directory), balancer={"idle_upstream_timeout": 0.2}) as b:
        await b.ask("POST", CHAT, body=b"{}")
        await eventually(lambda: b.replicas[0].open == 0, within=5)


@on_both_loops
async def test_stopping_lets_requests_finish_and_closes_idle_connections(directory: Path):
    go = asyncio.Event()

    async def slow(call: Call) -> None:
        await call.read_body()
        await go.wait()
        await call.reply(b"done")

    async with bench(ScriptedReplica(directory, script=slow)) as b:
        busy, idle = await b.connect(), await b.connect()
        await busy.send("POST", CHAT, body=b"{}")
        await eventually(lambda: b.rotation.in_flight == 1, within=5)
        stopping = asyncio.create_task(b.balancer.stop(30))
        assert await idle.reader.read() == b""
        with pytest.raises(ConnectionError):
            await b.connect()
        go.set()
        answer = await busy.answer()
        assert (answer.body, answer.one("connection")) == (b"done", "close")
        await asyncio.wait_for(stopping, 5)


@on_both_loops
async def test_stopping_ends_what_outlasts_the_drain(directory: Path):
    async def silent(call: Call) -> None:
        await call.reader.read()

    async with bench(ScriptedReplica(directory, script=silent)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, body=b"{}")
        await eventually(lambda: b.rotation.in_flight == 1, within=5)
        await asyncio.wait_for(b.balancer.stop(0.1), 5)
        assert await client.reader.read() == b""
        assert (b.seen[0].outcome, b.rotation.in_flight) == ("cut", 0)


@on_both_loops
async def test_a_taken_port_is_named(directory: Path):
    async with bench() as b:
        with pytest.raises(PortTaken, match=str(b.port)):
            await listen(["127.0.0.1"], b.port)


@on_both_loops
async def test_where_one_socket_cannot_listen_none_does(directory: Path):
    able = socket.create_server(("127.0.0.1", 0))
    unable = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    unable.bind(("127.0.0.1", 0))
    async with bench() as b:
        descriptor = able.fileno()
        with pytest.raises(OSError, match="not supported"):
            await b.balancer.start((able, unable))
        assert (able.fileno(), unable.fileno()) == (-1, -1)
        assert not asyncio.get_running_loop().remove_reader(descriptor), "somebody still waits at a closed socket"


@on_both_loops
async def test_listening_beyond_this_machine_needs_a_word_about_who_may_come(directory: Path):
    with pytest.raises(ConfigurationRefused, match="allow"):
        async with bench(balancer={"host": ["0.0.0.0"]}):
            pass
    async with bench(balancer={"host": ["0.0.0.0"]}, access={"allow": ["127.0.0.0/8"]}) as b:
        assert (await b.ask("GET", "/health")).status == 503
