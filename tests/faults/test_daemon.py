"""What is done to the daemon itself, and to the machine under it. Each of these has a daemon of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.faults.pool import PATIENCE, STREAM, FaultPool, comes_true, config
from tests.processes import kill

pytestmark = pytest.mark.asyncio(loop_scope="session")


@contextlib.asynccontextmanager
async def begun(pool: FaultPool):
    """A daemon that need not become ready."""
    try:
        await pool.start()
        yield
    except BaseException as error:
        await pool.clean_up(error)
        raise
    await pool.clean_up()


async def refused_to_start(pool: FaultPool) -> str:
    """What a daemon says that ends with 1 and leaves no process and no socket."""
    async with begun(pool):
        assert await pool.wait() == 1
        assert pool.processes() == []
        assert pool.sockets() == []
        assert "Traceback" not in pool.text
        return pool.text


# Signals.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_one_signal_lets_requests_finish_and_a_second_does_not_wait(number: signal.Signals):
    async with FaultPool(settings={"stop": {"drain": 600}}) as pool:
        short, long = await pool.begin({"x-fake-delay": "0.5"}), await pool.begin({"x-fake-delay": "600"})
        await pool.holds(2)
        os.kill(pool.pid, number)
        await pool.event("daemon_stopping")
        assert (await short.answer()).status == 200
        assert (await pool.status())["daemon"]["condition"] == "stopping"
        os.kill(pool.pid, number)
        assert await pool.wait(10) == 0
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await long.answer()
        assert pool.processes() == []
        assert pool.sockets() == []


async def test_a_killed_daemon_leaves_no_process_and_the_next_start_works():
    async with FaultPool() as pool:
        streaming = await pool.begin({"x-fake-chunks": "100000", "x-fake-chunk-delay": "0.01"}, STREAM)
        await streaming.head()
        os.kill(pool.pid, signal.SIGKILL)
        await pool.wait()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await streaming.reader.readuntil(b"[DONE]")
        await eventually(lambda: not pool.processes(), what="no process is left")
        assert pool.sockets(), "stale ones, which nobody could remove"
        await pool.start()
        await pool.ready()
        assert (await pool.ask()).status == 200


async def test_sockets_and_files_of_an_earlier_daemon_hinder_nothing():
    pool = FaultPool()
    pool.runtime_dir.mkdir(mode=0o700)
    for name in ("r1.sock", "r2.sock", "r99.sock", "control.sock"):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(pool.runtime_dir / name))
    (pool.runtime_dir / "daemon.lock").write_text('{"pid": 1, "listening": ["127.0.0.1:8000"]}')
    async with pool:
        assert (await pool.ask()).status == 200
        assert not (pool.runtime_dir / "r99.sock").exists()
        assert (await pool.run("status", "--json")).code == 0


async def test_a_daemon_that_stood_still_kills_nobody_when_it_goes_on(pool: FaultPool):
    since, before = len(pool.events), await pool.pids()
    os.kill(pool.pid, signal.SIGSTOP)
    waiting = asyncio.create_task(pool.ask())
    await asyncio.sleep(3.0)  # longer than kill_after; there is nothing to wait for but time
    os.kill(pool.pid, signal.SIGCONT)
    assert (await waiting).status == 200
    assert await pool.pids() == before
    assert not pool.find("replica_killed", since=since)


async def test_a_second_start_says_who_runs_and_changes_nothing(pool: FaultPool):
    before = await pool.pids()
    second = await asyncio.create_subprocess_exec(
        *pool.command,
        *("start", "--config", str(pool.config), "--runtime-dir", str(pool.runtime_dir), "--port", "0"),
        cwd=pool.folder,
        env=pool.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await second.communicate()
    assert second.returncode == 1
    assert f"pid {pool.pid}".encode() in output
    assert await pool.pids() == before
    assert (await pool.ask()).status == 200


# Starting.


async def test_a_port_that_is_taken_is_said_and_nothing_is_left():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        pool = FaultPool()
        pool.command = ["sh", "-c", f'exec "$@" --port {port}', "sh", *pool.command]
        assert f"port {port} on 127.0.0.1 is taken" in await refused_to_start(pool)


async def test_an_admin_port_that_is_taken_is_said_and_nothing_is_left():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = await refused_to_start(FaultPool(settings={"admin": {"port": port}}))
    assert f"the admin port 127.0.0.1:{port} cannot be used" in text


async def test_replicas_that_never_start_cost_a_wait_and_then_a_503():
    unable = {"FAKE_EXIT_STARTING": "3"}
    pool = FaultPool(environment=unable, settings={"queue": {"timeout": 1}})
    async with begun(pool):
        await pool.event("restart_delayed", within=PATIENCE)
        await pool.listens()
        answer = await pool.ask()
        assert (answer.status, answer.one("x-should-retry")) == (503, "true")
        assert (await pool.ask(target="/health/readiness", method="GET")).status == 503
        status = await pool.status()
        assert status["daemon"]["condition"] == "starting"


async def test_replicas_that_end_again_and_again_cost_waits():
    async with FaultPool(environment={"FAKE_EXIT_AFTER": "0.3"}) as pool:
        since = len(pool.events)
        async with pool.load(headers={"x-fake-delay": "0.02"}) as load:
            for slot in (1, 2):
                await pool.event("restart_delayed", since=since, slot=slot, failures=3)
            await comes_true(partial(crash_looping, pool), "the status says so")
            await load.finished_at_least(20)
        # One that was in flight at two deaths is not tried a third time.
        assert all("is not tried again" in result.text for result in load.failed), load.summary()
        assert len(load.failed) < len(load.results) / 4, load.summary()


async def crash_looping(pool: FaultPool) -> bool:
    """While a slot is empty it says when the next try is."""
    return any("crash-looping" in entry["note"] for entry in (await pool.status())["replicas"])


# Disks.


async def test_a_full_disk_keeps_the_old_configuration_and_no_request_waits():
    async with FaultPool() as pool:
        before = await pool.pids()
        pool.process.rlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        async with pool.load() as load:
            pool.save(config("another"))
            refused = await pool.event("configuration_change_refused")
            await load.finished_at_least(20)
        assert not load.failed, load.summary()
        assert "could not be" in refused["problems"][0] or "room" in refused["problems"][0], refused
        assert await pool.pids() == before
        await kill(before.pop())
        await pool.settled()
        pool.process.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        finished = await pool.run("reload", "--wait")
        assert finished.code == 0, finished.output


MAY_MOUNT = (
    shutil.which("unshare") is not None
    and not subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode
)
needs_mounts = pytest.mark.skipif(not MAY_MOUNT, reason="no mounts of one's own here")


def with_state_on(mount: str, state: Path) -> list[str]:
    """Starts a command where the state directory is mounted like this."""
    state.mkdir(mode=0o700, exist_ok=True)
    return ["unshare", "-rm", "sh", "-c", f'{mount.format(state)} && exec "$@"', "sh"]


@needs_mounts
async def test_a_full_state_directory_is_a_warning():
    pool = FaultPool()
    pool.command = [*with_state_on("mount -t tmpfs -o size=4k,mode=0700 none {0}", pool.state_dir), *pool.command]
    async with pool:
        await pool.event("generation_not_kept")
        assert (await pool.ask()).status == 200
        assert "No space left" in (await pool.status())["generation"]["history_note"]


@needs_mounts
async def test_a_state_directory_that_is_read_only_is_said_or_a_warning():
    pool = FaultPool()
    mount = "mount --bind {0} {0} && mount -o remount,ro,bind {0}"
    pool.command = [*with_state_on(mount, pool.state_dir), *pool.command]
    text = await refused_to_start_in_place(pool)
    assert str(pool.state_dir) in text
    # With a key of the operator's own nothing has to be written.
    pool.environment["LITELLM_MASTER_KEY"] = "sk-of-the-operators-own-0123456789"
    async with pool:
        await pool.event("generation_not_kept")
        assert (await pool.ask()).status == 200


async def refused_to_start_in_place(pool: FaultPool) -> str:
    await pool.start()
    assert await pool.wait() in {1, 3}
    assert "Traceback" not in pool.text
    return pool.text


# What else a process lives on.


async def test_no_file_descriptors_left_cost_waits_and_are_survived():
    async with FaultPool() as pool:
        held = await pool.begin({"x-fake-delay": "2"})
        await pool.holds(1)
        before = pool.process.rlimit(resource.RLIMIT_NOFILE)
        pool.process.rlimit(resource.RLIMIT_NOFILE, (pool.process.num_fds(), before[1]))
        knocking = [asyncio.create_task(attempt(pool)) for _ in range(20)]
        assert (await held.answer()).status == 200, "what is at work goes on"
        pool.process.rlimit(resource.RLIMIT_NOFILE, before)
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*knocking)
        async with asyncio.timeout(PATIENCE):
            assert (await pool.ask()).status == 200
        await pool.settled()


async def attempt(pool: FaultPool) -> int:
    """0 for a connection that is refused or closed."""
    try:
        return (await pool.ask()).status
    except (OSError, asyncio.IncompleteReadError):
        return 0


@pytest.mark.parametrize("jump", [86400.0, -86400.0])
async def test_a_jump_of_the_wall_clock_changes_nothing(tmp_path: Path, jump: float):
    clock = tmp_path / "clock"
    clock.write_text("0")
    slow = {"TEST_CLOCK": str(clock), "FAKE_BOOT_SECONDS": "0.5"}
    async with FaultPool(environment=slow) as pool:
        since, victim, other = len(pool.events), await pool.replica(1), await pool.replica(2)
        async with pool.load() as load:
            await load.finished_at_least(20)
            await kill(victim["pid"])
            await pool.event("replica_spawned", since=since, slot=1)
            clock.write_text(str(jump))
            await pool.event("replica_ready", since=since, slot=1, replica=victim["replica"] + 2)
            await kill((await pool.replica(1))["pid"])
            again = len(pool.events)
            await pool.event("replica_ready", since=again, slot=1)
        assert not load.failed, load.summary()
        assert not pool.find("replica_killed", since=since)
        assert (await pool.replica(2))["pid"] == other["pid"]
        pool.save(config("another", FAKE_BOOT_SECONDS="0.1"))
        await pool.event("rollout_completed", since=again, within=PATIENCE)


async def test_names_that_cannot_be_resolved_hinder_nothing_on_this_machine():
    async with FaultPool(environment={"TEST_NO_NAMES": "1"}) as pool:
        since = len(pool.events)
        await kill((await pool.replica(1))["pid"])
        await pool.event("replica_ready", since=since, slot=1)
        pool.save(config("another"))
        await pool.event("rollout_completed", since=since, within=PATIENCE)
        assert (await pool.ask()).status == 200
        answer = await pool.ask({"x-fake-status": "500"})
        assert answer.status == 500, "what LiteLLM says about its provider is passed on"


async def test_a_reader_of_the_log_that_does_not_read_holds_up_nothing():
    async with FaultPool() as pool:
        pool.stop_reading()
        load = await pool.load(requests=60, headers={"x-fake-print": "1000"}).run()
        assert not load.failed, load.summary()
        await comes_true(partial(lines_dropped, pool), "lines are dropped, and counted")
        victim = (await pool.replica(1))["pid"]
        await kill(victim)
        await comes_true(partial(back, pool, victim), "the slot is filled")
        pool.go_on_reading()


async def lines_dropped(pool: FaultPool) -> bool:
    text = await pool.admin("/metrics")
    return any(
        line.startswith("litesup_log_lines_dropped") and float(line.split()[-1]) > 0 for line in text.split("\n")
    )


async def back(pool: FaultPool, victim: int) -> bool:
    replica = await pool.replica(1)
    return bool(replica["pid"] != victim and replica["state"] == "ready")
