"""The contract of `spec.Launcher` and `spec.Process`: one suite for the plain, the forked and the fake one."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from supervisor.events import Events
from supervisor.fleet.launch.forked import ForkedLauncher
from supervisor.fleet.launch.plain import PlainLauncher
from supervisor.fleet.launch.spec import Launcher, LaunchSpec, Process
from tests import fake_litellm
from tests.fakes import FakeLauncher

MAKERS: dict[str, Callable[[], Launcher]] = {
    "plain": lambda: PlainLauncher(fake_litellm.PROGRAM),
    "fork": lambda: ForkedLauncher(Events(), fake_litellm.PROGRAM),
    "fake": FakeLauncher,
}
REAL = pytest.mark.parametrize("launcher", ["plain", "fork"], indirect=True)
ENVIRONMENT = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
PATIENCE = 20.0

pytestmark = pytest.mark.integration


@pytest.fixture(params=[*MAKERS])
async def launcher(request: pytest.FixtureRequest) -> AsyncIterator[Launcher]:
    made = MAKERS[request.param]()
    await made.prepare(ENVIRONMENT)
    yield made
    await made.close()


class Specs:
    """Makes specs, and remembers the processes that must not outlive the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.count = 0

    @property
    def newest(self) -> Path:
        return self.directory / f"{self.count}.sock"

    def __call__(self, *arguments: str, **environment: str) -> LaunchSpec:
        self.count += 1
        return LaunchSpec(
            replica=self.count,
            slot=0,
            arguments=arguments,
            environment=ENVIRONMENT | environment,
            socket_path=self.newest,
            directory=self.directory,
        )


@pytest.fixture
def spec(tmp_path: Path) -> Specs:
    return Specs(tmp_path)


async def lines_until(process: Process, text: str) -> list[str]:
    lines = []
    async with asyncio.timeout(PATIENCE):
        async for line in process.output():
            lines.append(line)
            if text in line:
                return lines
    raise AssertionError(f"{text!r} is not in {lines}")


async def state_of(spec: Specs) -> dict[str, Any]:
    """How the newest replica found itself when it started."""
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(spec.newest))) as session:
        async with session.get("http://replica/fake/process") as response:
            state: dict[str, Any] = await response.json()
    return state


async def end(process: Process) -> str:
    process.kill()
    async with asyncio.timeout(PATIENCE):
        return str(await process.wait())


async def test_its_output_is_read_line_by_line_until_the_end(launcher: Launcher, spec: Specs):
    process = await launcher.launch(spec(FAKE_PRINT="grüße", FAKE_EXIT_STARTING="0"))
    async with asyncio.timeout(PATIENCE):
        lines = [line async for line in process.output()]
    assert sorted(lines) == ["grüße", "to stderr: grüße"]
    await process.wait()


async def test_its_exit_code_is_told_to_everybody_who_waits_now_and_later(launcher: Launcher, spec: Specs):
    process = await launcher.launch(spec(FAKE_EXIT_STARTING="3"))
    async with asyncio.timeout(PATIENCE):
        first, second = await asyncio.gather(process.wait(), process.wait())
        assert str(first) == str(second) == str(await process.wait()) == "exit 3"


async def test_a_cancelled_wait_takes_nothing_from_the_others(launcher: Launcher, spec: Specs):
    process = await launcher.launch(spec())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await process.wait()
    assert await end(process) == "SIGKILL"


async def test_terminate_asks_it_to_leave(launcher: Launcher, spec: Specs):
    process = await launcher.launch(spec())
    if not isinstance(launcher, FakeLauncher):
        await lines_until(process, "listening")
    process.terminate()
    async with asyncio.timeout(PATIENCE):
        assert str(await process.wait()) == "exit 0"


async def test_kill_ends_one_that_does_not_listen_to_terminate(launcher: Launcher, spec: Specs):
    process = await launcher.launch(spec(FAKE_IGNORE_TERM="1"))
    if not isinstance(launcher, FakeLauncher):
        await lines_until(process, "listening")
    process.terminate()
    assert await end(process) == "SIGKILL"


async def test_signals_after_the_end_do_nothing(launcher: Launcher, spec: Specs):
    process = await launcher.launch(spec(FAKE_EXIT_STARTING="0"))
    await process.wait()
    process.terminate()
    process.kill()
    assert str(await process.wait()) == "exit 0"


async def test_processes_run_beside_each_other(launcher: Launcher, spec: Specs):
    processes = await asyncio.gather(*(launcher.launch(spec()) for _ in range(3)))
    assert len({process.pid for process in processes}) == 3
    assert [await end(process) for process in processes] == ["SIGKILL"] * 3


async def test_preparing_again_leaves_running_replicas_alone(launcher: Launcher, spec: Specs):
    process = await launcher.launch(spec())
    await launcher.prepare(ENVIRONMENT)
    await launcher.prepare(ENVIRONMENT | {"FAKE_LOAD_READS": "1"})
    other = await launcher.launch(spec(FAKE_LOAD_READS="1"))
    assert await end(other) == "SIGKILL"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await process.wait()
    assert await end(process) == "SIGKILL"


async def test_replicas_of_two_environments_are_launched_in_turn(launcher: Launcher, spec: Specs):
    environments: tuple[dict[str, str], ...] = ({}, {"FAKE_LOAD_READS": "1"})
    for environment in environments:
        await launcher.prepare(ENVIRONMENT | environment)
    processes = [await launcher.launch(spec(**environment)) for environment in environments * 2]
    assert [await end(process) for process in processes] == ["SIGKILL"] * 4


async def test_what_is_not_to_be_kept_is_launched_all_the_same_and_replicas_stay(launcher: Launcher, spec: Specs):
    process = await launcher.launch(spec())
    await launcher.keep([ENVIRONMENT | {"FAKE_LOAD_READS": "1"}])
    other = await launcher.launch(spec())
    assert await end(other) == "SIGKILL"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await process.wait()
    assert await end(process) == "SIGKILL"


async def test_closing_leaves_running_replicas_to_their_owner(launcher: Launcher, spec: Specs):
    process = await launcher.launch(spec())
    await launcher.close()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await process.wait()
    assert await end(process) == "SIGKILL"


@REAL
async def test_it_is_the_daemons_own_child_and_leads_its_own_session(launcher: Launcher, spec: Specs):
    process = await launcher.launch(spec())
    await lines_until(process, "listening")
    stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    assert (int(stat[1]), int(stat[3])) == (os.getpid(), process.pid)
    await end(process)


@REAL
async def test_it_gets_exactly_the_environment_of_its_spec(launcher: Launcher, spec: Specs, monkeypatch):
    monkeypatch.setenv("FROM_THE_DAEMON", "1")
    process = await launcher.launch(spec("--config", "x", FROM_THE_SPEC="ü=\n2"))
    await lines_until(process, "listening")
    state = await state_of(spec)
    assert state["environment"] == {**ENVIRONMENT, "FROM_THE_SPEC": "ü=\n2"}
    assert state["argv"] == ["litellm", "--config", "x"]
    assert state["cwd"] == str(spec.directory)
    assert state["path"][-1] == str(spec.directory)
    await end(process)


@REAL
async def test_what_loading_the_program_sets_in_the_environment_stays(launcher: Launcher, spec: Specs):
    changed = {"FAKE_LOAD_SETS": "BY_LOAD"}
    await launcher.prepare(ENVIRONMENT | changed)
    process = await launcher.launch(spec(**changed, LITESUP_OWN="1"))
    await lines_until(process, "listening")
    expected = {**ENVIRONMENT, **changed, "BY_LOAD": "by load", "LITESUP_OWN": "1"}
    assert (await state_of(spec))["environment"] == expected
    await end(process)


@REAL
async def test_it_starts_with_clean_descriptors_and_signals(launcher: Launcher, spec: Specs):
    with (spec.directory / "held by the daemon").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            process = await launcher.launch(spec())
            await lines_until(process, "listening")
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            signal.signal(signal.SIGHUP, previous)
    state = await state_of(spec)
    assert state["descriptors"] == [0, 1, 2]
    assert state["stdin"] == "/dev/null"
    assert state["blocked"] == []
    assert state["ignored"] == [signal.SIGPIPE, signal.SIGXFSZ]
    await end(process)


@REAL
async def test_its_whole_session_is_gone_when_wait_returns(launcher: Launcher, spec: Specs):
    process = await launcher.launch(spec(FAKE_CHILD="1"))
    await lines_until(process, "listening")
    (child,) = children_of(process.pid)
    await end(process)
    assert not alive(child)


def children_of(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@REAL
async def test_its_socket_is_removed_after_it(launcher: Launcher, spec: Specs):
    process = await launcher.launch(spec())
    await lines_until(process, "listening")
    assert (spec.directory / "1.sock").is_socket()
    await end(process)
    assert not (spec.directory / "1.sock").exists()


@REAL
async def test_a_directory_that_is_not_there_ends_the_replica_with_a_reason(launcher: Launcher, spec: Specs):
    broken = dataclasses.replace(spec(), directory=spec.directory / "missing")
    process = await launcher.launch(broken)
    lines = await lines_until(process, "FileNotFoundError")
    assert any("missing" in line for line in lines)
    async with asyncio.timeout(PATIENCE):
        assert str(await process.wait()) == "exit 1"
