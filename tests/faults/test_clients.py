"""What clients do to each other through the balancer, on purpose or not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from typing import Any

import aiohttp
import pytest

from tests.eventually import eventually
from tests.faults.pool import PATIENCE, STREAM, FaultPool, comes_true
from tests.wire import CHAT, Client, read_chunk

pytestmark = pytest.mark.asyncio(loop_scope="session")

IDLE = 5000


async def gone(pool: FaultPool) -> int:
    """How many requests the replicas were left with."""
    total = 0
    for entry in (await pool.status())["replicas"]:
        connector = aiohttp.UnixConnector(str(pool.runtime_dir / f"r{entry['replica']}.sock"))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get("http://replica/fake/seen") as response:
                total += (await response.json())["gone"]
    return total


async def test_five_thousand_idle_connections_hinder_nobody():
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    few_files = ("sh", "-c", 'ulimit -Sn 1024; exec "$@"', "sh")  # as many as a shell or a unit begins with
    async with FaultPool(before=few_files) as pool:
        sockets: list[asyncio.StreamWriter] = []
        try:
            for _ in range(IDLE // 100):
                opened = await asyncio.gather(*(pool.connect() for _ in range(100)))
                sockets += [client.writer for client in opened]
            load = await pool.load(requests=100).run()
            assert not load.failed, load.summary()
            assert not any(client.reader.at_eof() for client in opened)
            assert pool.process.num_fds() > IDLE
        finally:
            for writer in sockets:
                writer.transport.abort()
        await eventually(lambda: pool.process.num_fds() < IDLE // 10, what="the connections are let go")


async def test_clients_that_send_their_heads_byte_by_byte_are_sent_away_and_hinder_nobody(pool: FaultPool):
    clients = [await pool.connect() for _ in range(200)]
    for client in clients:
        client.writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX: ")
    load = await pool.load(requests=50).run()
    assert not load.failed, load.summary()

    async def drip(client: Client) -> bytes:
        """Everything until the end. Read by one task: a read that is cancelled takes what it had with it."""
        answer = asyncio.create_task(client.reader.read())
        while not answer.done():
            client.writer.write(b"x")
            await asyncio.wait([answer], timeout=0.2)
        return answer.result()

    async with asyncio.timeout(PATIENCE):
        answers = await asyncio.gather(*map(drip, clients))
    cut = [answer for answer in answers if not (answer.startswith(b"HTTP/1.1 408 ") and answer.endswith(b"}"))]
    assert not cut, f"{len(cut)} of {len(answers)}, such as {cut[0]!r}"


async def test_an_upload_that_stalls_is_a_408(pool: FaultPool):
    client = await pool.connect()
    headers = {"Content-Length": "1000000", "Authorization": "Bearer sk-1"}
    await client.send("POST", "/v1/files", headers, b"x" * 100_000)
    async with asyncio.timeout(PATIENCE):
        assert (await client.answer()).status == 408
    await pool.holds(0)


async def test_a_client_that_leaves_before_its_answer_leaves_nothing(pool: FaultPool):
    before = (await pool.status())["balancer"]["failed"]
    clients = [await pool.begin({"x-fake-delay": "600"}) for _ in range(3)]
    await pool.holds(3)
    for client in clients:
        client.leave()
    await pool.holds(0)
    assert (await pool.ask()).status == 200
    assert (await pool.status())["balancer"]["failed"] == before, "nobody waited for an answer to time out"


async def test_a_client_that_leaves_its_stream_is_left_by_the_replica_too(pool: FaultPool):
    before = await gone(pool)
    client = await pool.begin({"x-fake-chunks": "100000", "x-fake-chunk-delay": "0.01"}, STREAM)
    await client.head()
    await read_chunk(client.reader)
    client.leave()

    async def left() -> bool:
        return await gone(pool) == before + 1

    await comes_true(left, "the replica has noticed")
    await pool.holds(0)


async def test_a_client_that_does_not_read_its_answer_is_left_and_costs_no_memory(pool: FaultPool):
    before = pool.process.memory_info().rss
    client = await pool.begin({"x-fake-body-bytes": str(64 << 20)})
    client.pause_reading()
    load = await pool.load(requests=50).run()
    assert not load.failed, load.summary()
    assert pool.process.memory_info().rss - before < 16 << 20
    await pool.holds(0)
    client.leave()


async def test_more_requests_than_may_wait_are_told_when_to_come_back_and_who_leaves_makes_room():
    limits = {"replicas": {"max_in_flight": 1}, "queue": {"size": 2}, "health": {"kill_after": 600}}
    async with FaultPool(count=1, settings=limits) as pool:
        (pid,) = await pool.pids()
        os.kill(pid, signal.SIGSTOP)
        held = [await pool.begin() for _ in range(3)]
        await pool.holds(3)
        answer = await pool.ask()
        assert (answer.status, answer.one("x-should-retry")) == (503, "true")
        assert float(answer.one("retry-after-ms")) <= 1000
        held.pop().leave()
        await pool.holds(2)
        os.kill(pid, signal.SIGCONT)
        assert [(await client.answer()).status for client in held] == [200, 200]


async def test_a_request_that_nobody_can_read_for_sure_reaches_no_replica(pool: FaultPool):
    client = await pool.connect()
    await client.send("POST", CHAT, {"Content-Length": "2", "Transfer-Encoding": "chunked"}, b"{}")
    answer = await client.answer()
    assert (answer.status, "x-litesup-replica" in dict(answer.headers)) == (400, False)
    assert await client.reader.read() == b""


async def test_a_control_client_that_never_reads_hinders_no_command(pool: FaultPool):
    reader, writer = await asyncio.open_unix_connection(str(pool.runtime_dir / "control.sock"), limit=2**10)
    reading: Any = writer.transport
    reading.pause_reading()
    writer.write(b"GET /logs?follow=1 HTTP/1.1\r\nHost: litesup\r\n\r\n")
    load = await pool.load(headers={"x-fake-print": "2000"}, requests=20).run()
    assert not load.failed, load.summary()
    assert (await pool.run("status", "--json")).code == 0
    assert (await pool.run("restart", "1")).code == 0
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await reader.read()
