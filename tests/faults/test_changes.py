"""Files that are spoilt, lost or saved at the worst moment: what serves goes on serving."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.faults.pool import PATIENCE, FaultPool, comes_true, config
from tests.processes import kill

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def killed_and_back(pool: FaultPool, slot: int = 1) -> None:
    """A replica is killed, and comes back on what served before."""
    before, since = await pool.replica(slot), len(pool.events)
    await kill(before["pid"])
    ready = await pool.event("replica_ready", since=since, slot=slot, within=PATIENCE)
    assert ready["generation"] == before["generation"]


@pytest.mark.parametrize("code", ["1", "3"])
async def test_a_change_whose_replicas_end_while_starting_is_taken_back(pool: FaultPool, code: str):
    before, since = await pool.pids(), len(pool.events)
    async with pool.load() as load:
        pool.save(config(FAKE_EXIT_STARTING=code))
        failed = await pool.event("rollout_failed", since=since, within=PATIENCE)
        await load.finished_at_least(20)
    assert f"exit {code}" in failed["reason"]
    assert not load.failed, load.summary()
    await pool.settled()
    assert await pool.pids() == before


async def test_a_change_whose_replicas_do_not_start_in_time_is_taken_back(pool: FaultPool):
    before, since = await pool.pids(), len(pool.events)
    async with pool.load() as load:
        pool.save(config(FAKE_BOOT_SECONDS="600"))
        await pool.event("rollout_failed", since=since, within=PATIENCE)
    assert not load.failed, load.summary()
    await pool.event("replica_killed", since=since, cause="did not start")
    await pool.settled()
    assert await pool.pids() == before


async def test_a_change_whose_replicas_fall_silent_once_they_are_ready_is_taken_back():
    async with FaultPool(settings={"rollout": {"settle": 2.0}}) as pool:
        before, since = await pool.pids(), len(pool.events)
        async with pool.load() as load:
            pool.save(config(FAKE_HANG_AFTER="0.3"))
            await pool.event("rollout_failed", since=since, within=PATIENCE)
        assert not load.failed, load.summary()
        await pool.settled()
        assert await pool.pids() == before


async def test_a_change_under_which_litellm_cannot_be_loaded_is_taken_back(pool: FaultPool):
    before, since = await pool.pids(), len(pool.events)
    async with pool.load() as load:
        pool.save(config(FAKE_LOAD_FAILS="as the test wished"))
        await pool.event("rollout_failed", since=since, within=PATIENCE)
    assert not load.failed, load.summary()
    await pool.settled()
    assert await pool.pids() == before


async def test_a_broken_file_changes_nothing_and_a_killed_replica_comes_back(pool: FaultPool):
    since = len(pool.events)
    pool.save("model_list: [\n")
    refused = await pool.event("configuration_change_refused", since=since)
    assert str(pool.config) in refused["problems"][0]
    async with pool.load() as load:
        await killed_and_back(pool)
    assert not load.failed, load.summary()


async def test_a_file_that_is_deleted_changes_nothing_and_a_killed_replica_comes_back(pool: FaultPool):
    since = len(pool.events)
    pool.config.unlink()
    await pool.event("configuration_change_refused", since=since)
    async with pool.load() as load:
        await killed_and_back(pool)
    assert not load.failed, load.summary()
    pool.save(config())


async def test_an_env_file_that_vanishes_changes_nothing_and_a_killed_replica_comes_back(pool: FaultPool):
    env = pool.folder / ".env"
    env.write_text("A_KEY=value\n")
    pool.save(config(A_KEY="${A_KEY}"))
    assert (await pool.run("reload", "--wait")).code == 0
    await pool.settled()
    since = len(pool.events)
    env.unlink()
    refused = await pool.event("configuration_change_refused", since=since)
    assert "A_KEY" in refused["problems"][0]
    async with pool.load() as load:
        await killed_and_back(pool)
    assert not load.failed, load.summary()


@pytest.mark.parametrize("text", ["queue: {size: [\n", "queue: {size: many}\n", "", None])
async def test_settings_that_cannot_be_used_change_nothing(pool: FaultPool, text: str | None):
    good, since = pool.settings_file.read_text(), len(pool.events)
    try:
        if text is None:
            pool.settings_file.unlink()
        else:
            pool.settings_file.write_text(text)
        await pool.event("settings_refused", since=since)
        assert (await pool.ask()).status == 200
        await killed_and_back(pool)
    finally:
        pool.settings_file.write_text(good)
    await comes_true(partial(settings_are_good, pool), "the good file is read")


async def settings_are_good(pool: FaultPool) -> bool:
    return not (await pool.status())["settings"]["refused"]


async def test_a_replica_that_dies_while_the_environment_changes_costs_no_request(pool: FaultPool):
    since, generation = len(pool.events), (await pool.status())["generation"]["wanted"]
    async with pool.load() as load:
        pool.save(config(FAKE_LOAD_READS=str(since)))  # read while loading, so that it takes another fork server
        await pool.event("rollout_started", since=since, within=PATIENCE)
        await kill((await pool.replica(2))["pid"])
        completed = await pool.event("rollout_completed", since=since, within=PATIENCE)
        await load.finished_at_least(20)
    assert not load.failed, load.summary()
    document = await pool.settled()
    assert {entry["generation"] for entry in document["replicas"]} == {completed["generation"]} != {generation}


async def test_a_change_is_seen_though_the_kernel_dropped_the_word_of_it(pool: FaultPool):
    since = len(pool.events)
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    one, other = pool.folder / "one", pool.folder / "other"
    one.touch()
    os.kill(pool.pid, signal.SIGSTOP)
    try:
        for _ in range(most // 4 + 100):  # two events each way
            one.rename(other)
            other.rename(one)
        pool.save(config("another"))
    finally:
        os.kill(pool.pid, signal.SIGCONT)
    await pool.event("rollout_completed", since=since, within=PATIENCE)
    assert (await pool.ask()).status == 200


async def test_two_hangups_at_once_are_one_change_and_cost_no_request(pool: FaultPool):
    since = len(pool.events)
    async with pool.load() as load:
        pool.save(config("another"))
        for _ in range(2):
            os.kill(pool.pid, signal.SIGHUP)
            await asyncio.sleep(0)
        await pool.event("rollout_completed", since=since, within=PATIENCE)
        await load.finished_at_least(20)
    assert not load.failed, load.summary()
    await pool.settled()
    await pool.told("rollout_completed", since=since)
