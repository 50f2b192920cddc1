"""What replicas do to clients by dying, hanging and misbehaving: less than one would think."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.eventually import eventually
from tests.faults.pool import PATIENCE, STREAM, FaultPool, config
from tests.processes import kill

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def replaced(pool: FaultPool, since: int, slot: int) -> None:
    await pool.event("replica_exited", since=since, within=PATIENCE, slot=slot)
    await pool.event("replica_ready", since=since, within=PATIENCE, slot=slot)


async def test_a_killed_replica_costs_no_request(pool: FaultPool):
    since, victim = len(pool.events), await pool.replica(2)
    async with pool.load(headers={"x-fake-delay": "0.05"}) as load:
        await load.finished_at_least(20)
        await kill(victim["pid"])
        await replaced(pool, since, 2)
        await load.finished_at_least(20)
    assert not load.failed, load.summary()


async def test_a_request_that_its_replica_was_killed_over_is_answered_by_another(pool: FaultPool):
    clients = [await pool.begin({"x-fake-delay": "1"}) for _ in range(3)]
    await pool.holds(3)
    await kill((await pool.replica(1))["pid"])
    answers = [await client.answer() for client in clients]
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert "1" not in {answer.one("x-litesup-replica") for answer in answers}


async def test_all_replicas_killed_at_once_cost_a_wait(pool: FaultPool):
    await kill(*await pool.pids())
    load = await pool.load(requests=20).run()
    assert not load.failed, load.summary()


async def test_a_stopped_replica_costs_a_wait_and_is_replaced(pool: FaultPool):
    since, victim = len(pool.events), await pool.replica(3)
    async with pool.load() as load:
        await load.finished_at_least(20)
        os.kill(victim["pid"], signal.SIGSTOP)
        await replaced(pool, since, 3)
        await load.finished_at_least(20)
    assert not load.failed, load.summary()
    (killed,) = await pool.told("replica_killed", since=since)
    assert (killed["slot"], killed["cause"]) == (3, "hung")
    await pool.event("request_retried", since=since, reason="given up")


async def test_a_replica_that_ends_by_itself_with_3_is_only_a_replica_that_ended(pool: FaultPool):
    since = len(pool.events)
    answer = await pool.ask({"x-fake-exit": "3"})
    await replaced(pool, since, int(answer.one("x-litesup-replica")))
    (exited,) = await pool.told("replica_exited", since=since)
    assert (answer.status, exited["status"]) == (200, "exit 3")


def removed(path: Path) -> None:
    path.unlink()


def replaced_by_a_file(path: Path) -> None:
    path.unlink()
    path.write_text("no socket")


@pytest.mark.parametrize("spoil", [removed, replaced_by_a_file])
async def test_a_replica_whose_socket_is_gone_is_replaced_and_costs_no_request(
    pool: FaultPool, spoil: Callable[[Path], None]
):
    since, victim = len(pool.events), await pool.replica(1)
    async with pool.load(clients=8) as load:
        await load.finished_at_least(20)
        spoil(pool.runtime_dir / f"r{victim['replica']}.sock")
        await replaced(pool, since, 1)
        await load.finished_at_least(20)
    assert not load.failed, load.summary()


async def test_a_request_that_kills_takes_two_replicas_with_it_and_not_the_pool(pool: FaultPool):
    since, before = len(pool.events), await pool.pids()
    answer = await pool.ask({"x-fake-die": "before", "x-request-id": "poison"})
    assert (answer.status, answer.one("x-should-retry")) == (502, "false")
    assert len(before & await pool.pids()) >= 1
    await pool.settled()
    await pool.told("replica_exited", times=2, since=since)
    await pool.told("request_suspected", since=since, request_id="poison")


async def test_a_request_that_hangs_takes_two_replicas_with_it_and_not_the_pool(pool: FaultPool):
    since = len(pool.events)
    answer = await pool.ask({"x-fake-hang": "1"})
    assert (answer.status, answer.one("x-should-retry")) == (502, "false")
    assert (await pool.ask()).status == 200
    await pool.told("replica_killed", times=2, since=since, cause="hung")
    await pool.told("replica_exited", times=2, since=since)  # a kill is told before the end that it brings
    await pool.settled()
    await pool.told("request_suspected", since=since)


async def test_a_replica_that_runs_out_of_memory_is_one_that_was_killed(pool: FaultPool):
    since = len(pool.events)
    for pid in await pool.pids():
        process = psutil.Process(pid)
        most = process.memory_info().vms + (64 << 20)
        process.rlimit(resource.RLIMIT_AS, (most, most))
    answer = await pool.ask({"x-fake-grow": "1"})
    assert (answer.status, answer.one("x-should-retry")) == (502, "false")
    assert (await pool.ask()).status == 200
    await pool.settled()
    await pool.told("replica_exited", times=2, since=since, status="SIGKILL")


async def test_a_replica_whose_memory_grows_is_replaced_before_it_ends_and_costs_no_request():
    limit = {"recycle": {"private_memory": 128 << 20, "jitter": 0}}
    async with FaultPool(environment={"TEST_HURRY": "1"}, settings=limit) as pool:
        since = len(pool.events)
        async with pool.load() as load:
            grown = int((await pool.ask({"x-fake-keep": "200"})).one("x-litesup-replica"))
            recycled = await pool.event("replica_recycled", since=since, within=PATIENCE)
            assert (recycled["slot"], recycled["surge"]) == (grown, True)
            await replaced(pool, since, grown)
            await load.finished_at_least(20)
        assert not load.failed, load.summary()
        assert all(event["expected"] for event in pool.find("replica_exited", since=since))


async def test_a_replica_that_prints_without_end_is_not_made_to_wait(pool: FaultPool):
    since = len(pool.events)
    async with pool.load(headers={"x-fake-print": "2000"}) as load:
        await load.finished_at_least(20)
    assert not load.failed, load.summary()
    assert not pool.find("replica_exited", since=since)


async def test_a_replica_that_does_not_listen_to_TERM_holds_up_nothing(pool: FaultPool):
    pool.save(config(FAKE_IGNORE_TERM="1"))
    assert (await pool.run("reload", "--wait")).code == 0
    await pool.settled()
    since = len(pool.events)
    async with pool.load() as load:
        assert (await pool.run("restart", "1")).code == 0
        await pool.event("replica_killed", since=since, cause="did not end", within=PATIENCE)
        await load.finished_at_least(10)
    assert not load.failed, load.summary()


async def test_what_a_replica_left_running_ends_with_it(pool: FaultPool):
    pool.save(config(FAKE_CHILD="1"))
    assert (await pool.run("reload", "--wait")).code == 0
    await pool.settled()
    victim = psutil.Process((await pool.replica(2))["pid"])
    (child,) = victim.children()
    await kill(victim.pid)
    await eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, what="the child's end")


async def test_a_stream_whose_replica_is_killed_ends_visibly(pool: FaultPool, tmp_path: Path):
    client = await pool.begin({"x-fake-wait-file": str(tmp_path / "go-on")}, STREAM)
    head = await client.head()
    assert head.status == 200
    await kill((await pool.replica(int(head.one("x-litesup-replica"))))["pid"])
    async with asyncio.timeout(PATIENCE):
        received = await client.reader.read()
    assert b'"error"' in received
    assert b"[DONE]" not in received
    assert not received.endswith(b"0\r\n\r\n")


async def test_a_websocket_whose_replica_is_killed_ends(pool: FaultPool):
    client = await pool.connect()
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Authorization": "Bearer sk-1"}
    upgrade |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
    await client.send("GET", "/v1/realtime?model=gpt-4", upgrade)
    head = await client.head()
    assert head.status == 101
    client.writer.write(b"ping")
    assert await client.reader.readexactly(4) == b"ping"
    await kill((await pool.replica(int(head.one("x-litesup-replica"))))["pid"])
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionError):
            assert await client.reader.read() == b""
