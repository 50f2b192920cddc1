"""A changed environment, and another LiteLLM, under load: what is loaded, when, and that nobody notices."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.daemon import GUIDE, Daemon, Document
from tests.e2e.conftest import AZURE_KEY
from tests.eventually import eventually
from tests.fake_azure import Answer, FakeAzure
from tests.guide import guide_and
from tests.load import Load

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def daemon(azure_server: FakeAzure) -> AsyncIterator[Daemon]:
    """Three replicas; a directory of packages comes first on their path, in which a test may install what it likes."""
    made = Daemon(
        GUIDE.format(url=azure_server.url),
        environment={"AZURE_OPENAI_API_KEY": AZURE_KEY},
        settings={"rollout": {"settle": 0.5}},
    )
    packages = made.folder / "packages"
    packages.mkdir()
    made.environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(packages), made.environment.get("PYTHONPATH"))))
    async with made:
        yield made


async def rolled(daemon: Daemon, azure: FakeAzure, since: int) -> Document:
    """Waits for the roll-out's end under load, and that nobody noticed."""
    azure.answer = Answer(delay=0.02)
    async with Load(daemon.url, clients=4) as load:
        await load.finished_at_least(10)
        completed = await daemon.event("rollout_completed", since=since, within=120)
        await load.finished_at_least(10)
    assert not load.failed, load.summary()
    return completed


async def asked(client: aiohttp.ClientSession, daemon: Daemon, model: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "ping"}]}
    async with client.post(f"{daemon.url}/v1/chat/completions", json=body) as response:
        return response.status


async def test_a_new_key_in_env_is_served_without_loading_litellm_again(
    daemon: Daemon, azure: FakeAzure, client: aiohttp.ClientSession
):
    await daemon.settled()
    since = len(daemon.events)
    (daemon.folder / ".env").write_text(f"ANOTHER_PROVIDERS_KEY={AZURE_KEY}\n")
    daemon.save(guide_and("other", azure.url, "ANOTHER_PROVIDERS_KEY"))
    completed = await rolled(daemon, azure, since)
    print(f"rolled out in {completed['seconds']:.1f} s")
    assert not daemon.find("fork_server_started", since=since)
    assert await asked(client, daemon, "other") == 200


async def test_what_litellm_reads_while_it_is_imported_is_loaded_beside_the_old_one_first(
    daemon: Daemon, azure: FakeAzure, client: aiohttp.ClientSession
):
    before = await daemon.settled()
    old = before["generation"]["wanted"]
    since = len(daemon.events)
    (daemon.folder / ".env").write_text("DEFAULT_MAX_TOKENS=77\n")
    daemon.save(GUIDE.format(url=azure.url))
    completed = await rolled(daemon, azure, since)
    print(f"rolled out in {completed['seconds']:.1f} s")
    assert len(daemon.find("fork_server_started", since=since)) == 1
    loaded = daemon.events.index(daemon.find("fork_server_started", since=since)[0])
    spawned = [event for event in daemon.find("replica_spawned", since=since) if event["generation"] != old]
    assert len(spawned) == 3
    assert all(daemon.events.index(event) > loaded for event in spawned)
    await daemon.settled()
    await eventually(
        lambda: [process.name() for process in daemon.processes()].count("litesup-fork") == 1,
        what="the end of the old fork server",
    )
    assert await asked(client, daemon, "gpt-4") == 200


async def test_another_litellm_under_a_running_daemon_is_rolled_out_by_the_next_reload(
    daemon: Daemon, azure: FakeAzure, client: aiohttp.ClientSession
):
    before = await daemon.settled()
    assert before["daemon"]["litellm_version"] == importlib.metadata.version("litellm")
    since = len(daemon.events)
    pretend_to_install(daemon.folder / "packages", "1.106.99")
    reloaded = await daemon.run("reload", "--wait", within=120)
    assert reloaded.code == 0, reloaded.output
    await daemon.told("rollout_completed", since=since)
    await daemon.told("fork_server_started", since=since)
    after = await daemon.settled()
    assert after["daemon"]["litellm_version"] == "1.106.99"
    assert "1.106.99" in after["daemon"]["launcher_note"]
    assert after["daemon"]["launcher"] == "fork"
    assert await asked(client, daemon, "gpt-4") == 200
    again = await daemon.run("reload", "--wait")
    assert again.code == 0, again.output
    assert len(daemon.find("rollout_started", since=since)) == 1


def pretend_to_install(packages: Path, version: str) -> None:
    """The LiteLLM that there is, under another version."""
    metadata = packages / f"litellm-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: litellm\nVersion: {version}\n")
