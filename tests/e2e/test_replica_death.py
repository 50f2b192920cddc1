"""Replicas die and hang under load; clients notice as little as can be."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from tests.assault import Assault
from tests.daemon import Daemon
from tests.eventually import eventually
from tests.fake_azure import Answer, FakeAzure, Steps
from tests.load import Load
from tests.processes import kill

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLIENTS = 8


async def test_a_killed_replica_costs_nothing_and_its_slot_is_ready_again(pool: Daemon, azure: FakeAzure):
    azure.answer = Answer(delay=0.02)
    victim = await pool.replica(2)
    since = len(pool.events)
    async with Load(pool.url, clients=CLIENTS) as load:
        await load.finished_at_least(50)
        await kill(victim["pid"])
        await pool.event("replica_ready", slot=2, since=since)
        await load.finished_at_least(100)
    assert not load.failed, load.summary()

    exited = pool.find("replica_exited", since=since)
    assert [(event["slot"], event["status"], event["expected"]) for event in exited] == [(2, "SIGKILL", False)]
    ready = pool.find("replica_ready", since=since)
    assert [event["slot"] for event in ready] == [2]
    assert ready[0]["replica"] > victim["replica"]
    assert pool.events.index(exited[0]) < pool.events.index(ready[0])
    assert not pool.find("replica_warm_up_incomplete", since=since)
    assert (await pool.replica(2))["restarts"] > victim["restarts"]


async def test_every_replica_can_be_killed_at_once_and_requests_wait_for_the_next(pool: Daemon, azure: FakeAzure):
    pids = [entry["pid"] for entry in (await pool.status())["replicas"]]
    await kill(*pids)
    load = await Load(pool.url, clients=4, requests=12).run()
    assert not load.failed, load.summary()
    document = await pool.settled()
    assert document["ready_replicas"] == 3


async def test_a_stopped_replica_gets_no_new_request_after_the_first_missed_probe(pool: Daemon, azure: FakeAzure):
    azure.answer = Answer(delay=0.02)
    victim = await pool.replica(1)
    since = len(pool.events)
    async with Load(pool.url, clients=CLIENTS) as load:
        await load.finished_at_least(50)
        os.kill(victim["pid"], signal.SIGSTOP)
        try:
            await pool.event("replica_suspect", slot=1, since=since)
            others = await Load(pool.url, clients=4, requests=120).run()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim["pid"], signal.SIGCONT)
        assert not others.failed, others.summary()
        assert "1" not in others.per_replica(), others.summary()
        # What it held while it stood still is answered once it goes on, and then it is in turn again.
        await pool.event("replica_recovered", slot=1, since=since)
        goal = load.per_replica()["1"] + 5
        await eventually(lambda: load.per_replica()["1"] >= goal, what="requests for the recovered replica")
    assert not load.failed, load.summary()
    assert not pool.find("replica_exited", since=since)


async def test_a_stream_cut_by_a_death_does_not_look_complete(pool: Daemon, azure: FakeAzure):
    steps = Steps()
    azure.answer = Answer(steps=steps)
    steps.release(3)
    async with Load(pool.url, clients=3, requests=3, stream=True) as load:
        await azure.reached(lambda server: server.count == 3 and all(seen.sent == 3 for seen in server.requests))
        victim = await pool.replica(1)
        assert victim["in_flight"] == 1
        await kill(victim["pid"])
        steps.release_all()
        await eventually(lambda: len(load.results) == 3, within=60, what="the end of all three")
    assert [(result.status, result.complete, result.replica) for result in load.failed] == [(200, False, "1")]
    assert sum(result.succeeded for result in load.results) == 2


async def test_replicas_killed_one_after_the_other_cost_only_the_streams_that_they_had_begun(
    pool: Daemon, azure: FakeAzure
):
    azure.answer = Answer(delay=0.1, chunks=5, pause=0.05)
    async with Assault(pool, clients=16) as assault:
        for _ in range(4):
            since = len(pool.events)
            blow = await assault.strike(signal.SIGKILL)
            await pool.event("replica_exited", since=since, replica=blow.replica)
            await assault.settled()
    report = assault.report()
    assert not report.failed, report
    assert not report.unexplained, report
    assert not report.unseen, report


async def test_a_stopped_replica_keeps_nobody_waiting_until_it_is_killed(pool: Daemon, azure: FakeAzure):
    """Here that would take a minute. What has begun to be answered goes on when the replica does."""
    azure.answer = Answer(delay=0.1, chunks=5, pause=0.05)
    since = len(pool.events)
    async with Assault(pool, clients=16) as assault:
        blow = await assault.strike(signal.SIGSTOP)
        try:
            await pool.event("request_retried", since=since, replica=blow.replica, reason="given up")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(blow.pid, signal.SIGCONT)
        await pool.event("replica_recovered", since=since, replica=blow.replica)
        await assault.settled()
    report = assault.report()
    assert not report.failed, report
    assert not report.cut, report
    assert report.longest < 30, report.lines()
    assert not pool.find("replica_killed", since=since)
