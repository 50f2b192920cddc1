"""The fork server dies, stands still or must not fork: replicas never notice, and new ones come all the same."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from tests.eventually import eventually
from tests.faults.pool import PATIENCE, FaultPool, config
from tests.processes import kill

pytestmark = pytest.mark.asyncio(loop_scope="session")


def fork_server(pool: FaultPool) -> int:
    """The one that was started last."""
    return int(pool.find("fork_server_started")[-1]["pid"])


async def test_a_killed_fork_server_is_replaced_and_costs_no_request(pool: FaultPool):
    since, before = len(pool.events), await pool.pids()
    async with pool.load() as load:
        await kill(fork_server(pool))
        await pool.event("fork_server_started", since=since, within=PATIENCE)
        assert await pool.pids() == before
        await kill((await pool.replica(1))["pid"])
        await pool.event("replica_ready", since=since, slot=1, within=PATIENCE)
    assert not load.failed, load.summary()


async def test_a_stopped_fork_server_is_killed_and_the_slot_filled_all_the_same(pool: FaultPool):
    since, server = len(pool.events), fork_server(pool)
    os.kill(server, signal.SIGSTOP)
    async with pool.load() as load:
        await kill((await pool.replica(1))["pid"])
        await pool.event("replica_ready", since=since, slot=1, within=PATIENCE)
    assert not load.failed, load.summary()
    await pool.event("fork_server_lost", since=since)
    await eventually(lambda: not psutil.pid_exists(server), what="the stopped one is gone")


async def test_a_fork_server_with_a_second_thread_means_plain_replicas():
    async with FaultPool(config(FAKE_LOAD_THREAD="stray")) as pool:
        assert "stray" in (await pool.event("launcher_fell_back"))["reason"]
        status = await pool.status()
        assert (status["daemon"]["launcher"], "stray" in status["daemon"]["launcher_note"]) == ("plain", True)
        assert (await pool.ask()).status == 200
