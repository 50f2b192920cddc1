"""A configuration change cannot hurt: what it does to the requests and streams that run meanwhile, which is nothing.

One pool of three serves all of this, as an operator's would: under a load that never pauses its file is broken, spoilt in
every way that only LiteLLM notices, and changed for good.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.daemon import GUIDE, Daemon
from tests.e2e.conftest import AZURE_KEY
from tests.fake_azure import Answer, FakeAzure, Steps
from tests.guide import guide_and
from tests.load import Load

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

CLIENTS = 8
KILLING = 30.0  # seconds
HALF_A_MINUTE = 30
LONGEST = 240.0  # seconds of a load that its test ends
ENOUGH = 60.0  # seconds; what takes longer has failed, on however busy a machine

DIES = """\
import os
import threading

from litellm.integrations.custom_logger import CustomLogger


class Dies(CustomLogger):
    pass


instance = Dies()
timer = threading.Timer(1.0, os._exit, [7])
timer.daemon = True
timer.start()
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def module_daemon(azure_server: FakeAzure) -> AsyncIterator[Daemon]:
    config = GUIDE.format(url=azure_server.url)
    async with Daemon(config, environment={"AZURE_OPENAI_API_KEY": AZURE_KEY}) as daemon:
        (daemon.folder / "raises.py").write_text("raise RuntimeError('as the test wished')\n")
        (daemon.folder / "dies.py").write_text(DIES)
        yield daemon


@pytest_asyncio.fixture(loop_scope="session")
async def daemon(module_daemon: Daemon, azure: FakeAzure, request: pytest.FixtureRequest) -> AsyncIterator[Daemon]:
    """Three replicas on the guide's own file, whatever the test before has made of it."""
    await module_daemon.restore(GUIDE.format(url=azure.url))
    with module_daemon.shown_if_it_fails(request):
        yield module_daemon


def changed(azure: FakeAzure, old: str, new: str) -> str:
    config = GUIDE.format(url=azure.url)
    assert old in config
    return config.replace(old, new, 1)


def pids(document: dict[str, Any]) -> set[int]:
    return {entry["pid"] for entry in document["replicas"]}


async def test_a_typo_is_saved_and_replicas_are_killed_one_after_another_and_no_request_fails(
    daemon: Daemon, azure: FakeAzure
):
    azure.answer = Answer(delay=0.02)
    before = await daemon.settled()
    good, since, killed = before["generation"]["wanted"], len(daemon.events), 0
    async with Load(daemon.url, clients=CLIENTS, seconds=LONGEST) as load:
        await load.finished_at_least(50)
        daemon.save(changed(azure, "litellm_params:", "litellm_params"))
        await daemon.event("configuration_change_refused", since=since)
        replicas = {entry["slot"]: entry for entry in before["replicas"]}
        end = time.monotonic() + KILLING
        while time.monotonic() < end:
            victim = min(replicas.values(), key=lambda entry: int(entry["replica"]))
            seen = len(daemon.events)
            os.kill(victim["pid"], signal.SIGKILL)
            killed += 1
            ready = await daemon.event("replica_ready", since=seen, within=ENOUGH, slot=victim["slot"])
            replicas[victim["slot"]] = ready
            await load.finished_at_least(CLIENTS)
    print(f"{killed} killed; {load.summary()}")
    assert not load.failed, load.summary()
    assert killed >= 3
    ready_again = daemon.find("replica_ready", since=since)
    assert len(ready_again) == killed
    assert {event["generation"] for event in ready_again} == {good}
    assert not daemon.find("rollout_started", since=since)
    assert (await daemon.status())["generation"]["refused"], "the file on disk is still broken"


NO_SUCH_PROVIDER = """\
  - model_name: lost
    litellm_params: {model: nowhere/gpt-5, api_key: none}

litellm_settings:"""

MISSING_GUARDRAIL = """\
guardrails:
  - guardrail_name: missing
    litellm_params: {guardrail: nowhere.Missing, mode: pre_call}

environment_variables:"""

REFUSED = {
    "an unset variable": ("${AZURE_OPENAI_API_KEY}", "${NOT_SET_ANYWHERE}"),
    "a wrong type": ("drop_params: True", "num_retries: many"),
    "a misspelt model_list": ("model_list:", "modle_list:"),
    "half a file": ("litellm_settings:", "litellm_settings: {"),
}
ROLLED_BACK = {
    "a model that does not exist": ("litellm_settings:", NO_SUCH_PROVIDER),
    "a callback that raises": ("drop_params: True", "callbacks: raises.instance"),
    "a guardrail that is missing": ("environment_variables:", MISSING_GUARDRAIL),
    "one that dies a second after it was ready": ("drop_params: True", "callbacks: dies.instance"),
}


async def test_whatever_is_wrong_with_a_change_no_request_fails_and_no_stream_is_cut(daemon: Daemon, azure: FakeAzure):
    azure.answer = Answer(chunks=6, pause=0.1)
    before = await daemon.settled()
    async with Load(daemon.url, clients=CLIENTS, stream=True, seconds=LONGEST, patience=ENOUGH) as load:
        await load.finished_at_least(CLIENTS)
        for what, (old, new) in {**REFUSED, **ROLLED_BACK}.items():
            since = len(daemon.events)
            daemon.save(changed(azure, old, new))
            verdict = "configuration_change_refused" if what in REFUSED else "rollout_failed"
            event = await daemon.event(verdict, since=since, within=ENOUGH)
            print(f"{what}: {event.get('problems') or event.get('reason')}")
            await load.finished_at_least(CLIENTS)
            finished = await daemon.run("reload", "--wait")
            assert (finished.code, what) == (3, what), finished.output
        await load.finished_at_least(CLIENTS)
    print(load.summary())
    assert not load.failed, load.summary()
    after = await daemon.settled()
    assert pids(after) == pids(before), "nobody who served was replaced"
    assert after["generation"]["wanted"] == before["generation"]["wanted"]


@contextlib.asynccontextmanager
async def half_a_minute(azure: FakeAzure) -> AsyncIterator[None]:
    """Whoever asks for a long stream gets a chunk a second, and its end half a minute later and after the block.

    All others get short ones.
    """
    steps = Steps()
    long, short = Answer(chunks=HALF_A_MINUTE + 1, steps=steps), Answer(chunks=6, pause=0.1)
    azure.choose = lambda seen: long if seen.prompt == "long" else short

    async def flow() -> None:
        for _ in range(HALF_A_MINUTE):
            steps.release()
            await asyncio.sleep(1.0)

    flowing = asyncio.create_task(flow())
    try:
        yield
        await flowing
    finally:
        flowing.cancel()
        steps.release_all()


async def test_good_changes_cut_nothing_and_a_long_stream_holds_up_nothing(daemon: Daemon, azure: FakeAzure):
    config = guide_and("second", azure.url)
    environment = "environment_variables:\n  SSL_CERT_DIR: /etc/ssl/certs"  # read when LiteLLM is loaded
    since = len(daemon.events)
    long = Load(daemon.url, clients=1, requests=1, stream=True, prompt="long", patience=ENOUGH)
    async with long, Load(daemon.url, clients=CLIENTS, stream=True, seconds=LONGEST, patience=ENOUGH) as load:
        async with half_a_minute(azure):
            await load.finished_at_least(CLIENTS)
            await azure.reached(lambda server: any(seen.prompt == "long" and seen.sent for seen in server.requests))
            await rolled_out(daemon, config, "a new model")
            async with Load(daemon.url, clients=3, model="second") as new:
                await new.served_by(3)
            assert not new.failed, new.summary()
            await load.finished_at_least(CLIENTS)
            last = await rolled_out(daemon, config.replace("environment_variables:", environment), "a new environment")
            await load.finished_at_least(CLIENTS)
            assert not long.results, "the long stream is still under way, and held up nothing"
    print(load.summary())
    assert not load.failed, load.summary()
    assert not long.failed, long.summary()
    assert long.results[0].seconds >= HALF_A_MINUTE
    assert {entry["generation"] for entry in (await daemon.settled())["replicas"]} == {last}
    assert all(event["expected"] for event in daemon.find("replica_exited", since=since))


async def rolled_out(daemon: Daemon, config: str, what: str) -> str:
    """Saves it; the generation that then serves everywhere. Prints after how long, which is no test's business."""
    before, since, saved = (await daemon.status())["generation"]["wanted"], len(daemon.events), time.monotonic()
    daemon.save(config)
    rolled = await daemon.event("rollout_completed", since=since, within=ENOUGH)
    print(f"{what}: three replicas serve it after {time.monotonic() - saved:.1f} s")
    serving = [entry for entry in (await daemon.status())["replicas"] if entry["state"] == "ready"]
    assert len(serving) == 3
    assert {entry["generation"] for entry in serving} == {rolled["generation"]} != {before}
    return str(rolled["generation"])
