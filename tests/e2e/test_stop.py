"""Nothing is left behind, however the daemon ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from tests.command import run
from tests.daemon import GUIDE, Daemon
from tests.e2e.conftest import AZURE_KEY
from tests.eventually import eventually
from tests.fake_azure import Answer, FakeAzure, Steps
from tests.load import Load

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def daemon(azure: FakeAzure, request: pytest.FixtureRequest) -> AsyncIterator[Daemon]:
    """Two replicas of the test's own."""
    config = GUIDE.format(url=azure.url)
    async with Daemon(config, replicas=2, environment={"AZURE_OPENAI_API_KEY": AZURE_KEY}) as daemon:
        with daemon.shown_if_it_fails(request):
            yield daemon


async def health(daemon: Daemon) -> int:
    """The status that health answers on a new connection; 0 when there is none to be had."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{daemon.url}/health") as response:
            return response.status
    except aiohttp.ClientConnectionError:
        return 0


async def test_stop_lets_requests_finish_and_leaves_no_process_and_no_socket(daemon: Daemon, azure: FakeAzure):
    steps = Steps()
    azure.answer = Answer(steps=steps)
    steps.release(2)
    async with Load(daemon.url, clients=2, requests=2, stream=True) as load:
        await azure.reached(lambda server: server.count == 2 and all(seen.sent == 2 for seen in server.requests))
        stopping = asyncio.create_task(daemon.run("stop"))
        await daemon.event("daemon_stopping")
        steps.release_all()
        assert await daemon.wait() == 0
        finished = await stopping
    assert finished.code == 0, finished.output
    assert not load.failed, load.summary()
    assert daemon.processes() == []
    assert daemon.sockets() == []
    assert (await daemon.run("status")).code == 4


async def test_the_first_signal_drains_and_the_second_does_not_wait(daemon: Daemon, azure: FakeAzure):
    azure.answer = Answer(hang=True)
    async with Load(daemon.url, clients=2, requests=2) as load:
        await azure.reached(lambda server: server.count == 2)
        os.kill(daemon.pid, signal.SIGTERM)
        await daemon.event("daemon_stopping")
        while answer := await health(daemon):
            assert answer == 503
        os.kill(daemon.pid, signal.SIGTERM)
        assert await daemon.wait(within=15) == 0
    assert len(load.failed) == 2, load.summary()
    assert daemon.processes() == []
    assert daemon.sockets() == []


async def test_killing_the_daemon_leaves_no_process_and_the_next_start_works_at_once(daemon: Daemon, azure: FakeAzure):
    assert len(daemon.processes()) >= 3
    os.kill(daemon.pid, signal.SIGKILL)
    await daemon.wait()
    await eventually(lambda: not daemon.processes(), within=5, what="no process left")
    await daemon.start()
    await daemon.ready()
    load = await Load(daemon.url, clients=2, requests=4).run()
    assert not load.failed, load.summary()


async def test_a_second_start_says_that_one_is_running_and_where(pool: Daemon):
    arguments = ["start", "--config", str(pool.config), "--port", "0", "--runtime-dir", str(pool.runtime_dir)]
    finished = await run(arguments, pool.environment, pool.folder)
    assert finished.code == 1, finished.output
    assert str(pool.pid) in finished.output
    assert pool.url.removeprefix("http://") in finished.output
    assert (await pool.status())["ready_replicas"] == 3


async def test_a_killed_fork_server_is_replaced_without_touching_replicas(pool: Daemon):
    replicas = {entry["pid"] for entry in (await pool.status())["replicas"]}
    servers = [process for process in pool.processes() if process.pid not in replicas | {pool.pid}]
    assert len(servers) == 1
    since = len(pool.events)
    servers[0].kill()
    await pool.event("fork_server_started", since=since, within=60)
    document = await pool.status()
    assert {entry["pid"] for entry in document["replicas"]} == replicas
    os.kill(replicas.pop(), signal.SIGKILL)
    await pool.event("replica_ready", since=since, within=60)
