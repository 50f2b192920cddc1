"""A saved configuration takes effect by itself, and a broken one changes nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
import yaml

from tests.daemon import GUIDE, Daemon
from tests.e2e.conftest import AZURE_KEY
from tests.fake_azure import Answer, FakeAzure, Steps
from tests.guide import guide_and
from tests.load import Load

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def module_daemon(azure_server: FakeAzure) -> AsyncIterator[Daemon]:
    config = GUIDE.format(url=azure_server.url)
    settings = {"rollout": {"settle": 0.2}}
    async with Daemon(config, replicas=2, environment={"AZURE_OPENAI_API_KEY": AZURE_KEY}, settings=settings) as daemon:
        yield daemon


@pytest_asyncio.fixture(loop_scope="session")
async def daemon(module_daemon: Daemon, azure: FakeAzure, request: pytest.FixtureRequest) -> AsyncIterator[Daemon]:
    """Two replicas on the guide's own file, whatever the test before has made of it."""
    await module_daemon.restore(GUIDE.format(url=azure.url))
    with module_daemon.shown_if_it_fails(request):
        yield module_daemon


async def models(daemon: Daemon, client: aiohttp.ClientSession) -> set[str]:
    async with client.get(f"{daemon.url}/v1/models") as response:
        return {model["id"] for model in (await response.json())["data"]}


async def test_a_saved_change_serves_without_a_request_lost(
    daemon: Daemon, azure: FakeAzure, client: aiohttp.ClientSession
):
    azure.answer = Answer(delay=0.02)
    before = (await daemon.status())["generation"]["wanted"]
    since = len(daemon.events)
    async with Load(daemon.url, clients=4) as load:
        await load.finished_at_least(10)
        daemon.save(guide_and("second", azure.url))
        await daemon.event("rollout_completed", since=since, within=90)
        await load.finished_at_least(10)
    assert not load.failed, load.summary()
    assert await models(daemon, client) == {"gpt-4", "second"}
    document = await daemon.settled()
    assert document["generation"]["wanted"] == document["generation"]["last_good"] != before
    assert {entry["generation"] for entry in document["replicas"]} == {document["generation"]["wanted"]}


async def test_a_stream_outlives_the_roll_out(daemon: Daemon, azure: FakeAzure, client: aiohttp.ClientSession):
    steps = Steps()
    azure.answer = Answer(steps=steps)
    steps.release(2)
    since = len(daemon.events)
    async with Load(daemon.url, clients=4, requests=4, stream=True) as load:
        await azure.reached(lambda server: server.count == 4 and all(seen.sent == 2 for seen in server.requests))
        daemon.save(guide_and("second", azure.url))
        # Both old replicas still hold two streams each when the new ones have taken their places.
        await daemon.until(lambda: len(daemon.find("replica_draining", since=since)) == 2, 90, "both replicas leaving")
        assert not load.results
        steps.release_all()
        await load.finished_at_least(4)
    assert not load.failed, load.summary()
    await daemon.event("rollout_completed", since=since, within=90)


async def test_saved_settings_apply_without_a_request_lost(daemon: Daemon, azure: FakeAzure):
    azure.answer = Answer(delay=0.02)
    before = {entry["pid"] for entry in (await daemon.settled())["replicas"]}
    file = daemon.folder / "litesup.yaml"
    said = file.read_text()
    document = yaml.safe_load(said)
    port = document["admin"]["port"]
    document |= {"queue": {"size": 77}, "admin": {"port": 1}}
    document["logs"] = {**document["logs"], "litellm_debug": True}
    since = len(daemon.events)
    try:
        async with Load(daemon.url, clients=4) as load:
            await load.finished_at_least(10)
            file.write_text(yaml.safe_dump(document))
            applied = await daemon.event("settings_applied", since=since)
            finished = await daemon.run("reload", "--wait")
            await daemon.until(lambda: len(daemon.find("replica_exited", since=since)) == 2, 90, "both were replaced")
            await load.finished_at_least(10)
        assert not load.failed, load.summary()
        assert {change.split(" ")[0] for change in applied["changes"]} == {"queue.size", "logs.litellm_debug"}
        assert finished.code == 0, finished.output
        status = await daemon.settled()
        assert not before & {entry["pid"] for entry in status["replicas"]}
        assert status["settings"]["needs_restart"] == [f"admin.port ({port} → 1)"]
        assert f"needs a restart: admin.port ({port} → 1)" in finished.output
    finally:
        file.write_text(said)
        await daemon.run("reload", "--wait")


async def test_a_typo_changes_nothing_and_a_killed_replica_comes_back_on_the_old_generation(
    daemon: Daemon, azure: FakeAzure, client: aiohttp.ClientSession
):
    before = await daemon.settled()
    since = len(daemon.events)
    daemon.save(guide_and("second", azure.url).replace("litellm_params:", "litellm_params", 1))
    refused = await daemon.event("configuration_change_refused", since=since)
    assert any("litellm.config.yaml" in problem for problem in refused["problems"]), refused
    after = await daemon.status()
    assert [entry["pid"] for entry in after["replicas"]] == [entry["pid"] for entry in before["replicas"]]
    assert after["generation"]["wanted"] == before["generation"]["wanted"]
    assert after["generation"]["refused"]
    assert not daemon.find("rollout_started", since=since)

    os.kill(before["replicas"][0]["pid"], signal.SIGKILL)
    ready = await daemon.event("replica_ready", since=since)
    assert ready["generation"] == before["generation"]["wanted"]
    assert await models(daemon, client) == {"gpt-4"}
    load = await Load(daemon.url, clients=2, requests=10).run()
    assert not load.failed, load.summary()
    assert (await daemon.status())["generation"]["refused"], "the file on disk is still broken"


async def test_reload_says_what_is_wrong_and_where(daemon: Daemon, azure: FakeAzure):
    daemon.save(GUIDE.format(url=azure.url).replace("${AZURE_OPENAI_API_KEY}", "${NOT_SET_ANYWHERE}", 1))
    finished = await daemon.run("reload", "--wait")
    assert finished.code == 3, finished.output
    assert "NOT_SET_ANYWHERE" in finished.output
    assert "litellm.config.yaml:7" in finished.output


async def test_a_generation_that_cannot_start_leaves_the_old_one_serving(
    daemon: Daemon, azure: FakeAzure, client: aiohttp.ClientSession
):
    before = (await daemon.status())["generation"]["wanted"]
    since = len(daemon.events)
    (daemon.folder / "raises.py").write_text("raise RuntimeError('as the test wished')\n")
    daemon.save(GUIDE.format(url=azure.url).replace("drop_params: True", "callbacks: raises.instance"))
    failed = await daemon.event("rollout_failed", since=since, within=90)
    assert failed["kept"] == before
    load = await Load(daemon.url, clients=2, requests=10).run()
    assert not load.failed, load.summary()
    document = await daemon.status()
    assert any(failed["generation"] in text for text in document["generation"]["failed"])
    assert document["ready_replicas"] == 2


async def test_an_unchanged_file_saved_again_changes_nothing(daemon: Daemon):
    before = await daemon.settled()
    since = len(daemon.events)
    daemon.save(daemon.config.read_text())
    finished = await daemon.run("reload", "--wait")
    assert finished.code == 0, finished.output
    after = await daemon.status()
    assert [entry["pid"] for entry in after["replicas"]] == [entry["pid"] for entry in before["replicas"]]
    assert not daemon.find("rollout_started", since=since)


async def test_restart_replaces_a_replica_without_a_request_lost(daemon: Daemon, azure: FakeAzure):
    azure.answer = Answer(delay=0.02)
    before = await daemon.settled()
    async with Load(daemon.url, clients=4) as load:
        await load.finished_at_least(10)
        finished = await daemon.run("restart", "1")
        await load.finished_at_least(10)
    assert finished.code == 0, finished.output
    assert not load.failed, load.summary()
    after = await daemon.settled()
    pids = {entry["slot"]: entry["pid"] for entry in before["replicas"]}
    fresh = {entry["slot"]: entry["pid"] for entry in after["replicas"]}
    assert fresh[1] != pids[1]
    assert fresh[2] == pids[2]


async def test_scale_goes_up_and_down_without_a_request_lost(daemon: Daemon, azure: FakeAzure):
    azure.answer = Answer(delay=0.02)
    async with Load(daemon.url, clients=4) as load:
        since = len(daemon.events)
        up = await daemon.run("scale", "4")
        assert up.code == 0, up.output
        await daemon.until(lambda: len(daemon.find("replica_ready", since=since)) == 2, 60, "two more replicas")
        await load.served_by(4)
        down = await daemon.run("scale", "2")
        assert down.code == 0, down.output
        await daemon.until(lambda: len(daemon.find("replica_exited", since=since)) == 2, 90, "two replicas fewer")
    assert not load.failed, load.summary()
    assert all(event["expected"] for event in daemon.find("replica_exited", since=since))
    assert len((await daemon.settled())["replicas"]) == 2
