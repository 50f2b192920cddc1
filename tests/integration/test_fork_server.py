"""What the fork server's own faults do to a launch, and the daemon's death to its processes. Real processes, fake LiteLLM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import uvloop

from supervisor.errors import LaunchFailed
from supervisor.events import Event, Events, ForkServerLost, ForkServerStarted
from supervisor.fleet.launch import kernel
from supervisor.fleet.launch.forked import ForkedLauncher
from supervisor.fleet.launch.forkserver import ForkServer, ForkServerUnusable, begin
from supervisor.fleet.launch.orphans import Orphans
from supervisor.fleet.launch.output import Output
from supervisor.fleet.launch.plain import PlainLauncher
from supervisor.fleet.launch.spec import LaunchSpec, Process
from supervisor.fleet.launch.standby import LOSSES
from tests.eventually import eventually
from tests.fake_litellm import PROGRAM
from tests.processes import Children

ENVIRONMENT = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


class Forked:
    def __init__(self, directory: Path) -> None:
        self.children = Children()
        self.directory = directory
        self.seen: list[Event] = []
        self.events = Events()
        self.events.subscribe(self.seen.append)
        self.launcher = ForkedLauncher(self.events, PROGRAM, start_timeout=20.0, answer_timeout=1.0)
        self.processes: list[Process] = []
        self.count = 0

    def spec(self, **environment: str) -> LaunchSpec:
        self.count += 1
        number = self.count
        socket_path = self.directory / f"{number}.sock"
        return LaunchSpec(number, 0, (), ENVIRONMENT | environment, socket_path, self.directory)

    async def launch(self, **environment: str) -> Process:
        process = await self.launcher.launch(self.spec(**environment))
        self.processes.append(process)
        return process

    @property
    def server(self) -> int:
        assert self.launcher.fork_server_pid is not None
        return self.launcher.fork_server_pid

    def kinds(self) -> list[type[Event]]:
        return [type(event) for event in self.seen]


@pytest.fixture
async def forked(short_dir: Path) -> AsyncIterator[Forked]:
    made = Forked(short_dir)
    await made.launcher.prepare(ENVIRONMENT)
    yield made
    await made.launcher.close()
    for process in made.processes:
        process.kill()
        await process.wait()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and not kernel.is_zombie(pid)


async def listening(process: Process) -> None:
    async with asyncio.timeout(20):
        async for line in process.output():
            if "listening" in line:
                return
    raise AssertionError("it never listened")


async def test_a_killed_fork_server_is_replaced_ahead_of_need(forked: Forked):
    replica = await forked.launch()
    first = forked.server
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: forked.launcher.fork_server_pid not in {None, first}, what="another fork server")
    assert forked.kinds() == [ForkServerStarted, ForkServerLost, ForkServerStarted]
    assert alive(replica.pid)
    await listening(await forked.launch())


async def test_a_wedged_fork_server_is_killed_and_the_launch_made_by_another(forked: Forked):
    replica = await forked.launch()
    first = forked.server
    os.kill(first, signal.SIGSTOP)
    await listening(await forked.launch())
    assert not alive(first)
    assert alive(replica.pid)
    assert "within 1 s" in next(event.reason for event in forked.seen if isinstance(event, ForkServerLost))


async def test_a_replica_that_is_not_let_through_its_gate_leaves_without_a_trace(short_dir: Path):
    kernel.become_subreaper()
    server = await ForkServer.start(PROGRAM, ENVIRONMENT, deadline=20)
    order = {
        "replica": 1,
        "arguments": [],
        "environment": ENVIRONMENT,
        "socket": str(short_dir / "1.sock"),
        "directory": str(short_dir),
        "daemon": os.getpid(),
    }
    read_end, write_end = os.pipe()
    gate, key = os.pipe()
    pid = await server.fork(order, output=write_end, gate=gate, deadline=5)
    assert alive(pid)
    for descriptor in (write_end, gate, key):
        os.close(descriptor)
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert os.read(read_end, 100) == b""
    assert list(short_dir.iterdir()) == []
    os.close(read_end)
    await server.close()


async def test_a_cancelled_launch_does_not_hinder_the_next(forked: Forked):
    os.kill(forked.server, signal.SIGSTOP)
    launching = asyncio.ensure_future(forked.launcher.launch(forked.spec()))
    done, _ = await asyncio.wait([launching], timeout=0.05)
    assert not done
    launching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launching
    await listening(await forked.launch())


async def test_what_was_opened_in_the_fork_server_is_not_shared_by_replicas(forked: Forked):
    (forked.directory / "opened").write_text("")
    opens = {"FAKE_LOAD_OPENS": str(forked.directory / "opened")}
    await forked.launcher.prepare(ENVIRONMENT | opens)
    replica = await forked.launch(**opens)
    await listening(replica)
    targets = {entry.readlink().name for entry in Path(f"/proc/{forked.server}/fd").iterdir()}
    assert "opened" in targets
    assert "opened" not in {entry.readlink().name for entry in Path(f"/proc/{replica.pid}/fd").iterdir()}


READ = {"FAKE_LOAD_READS": "1"}


@pytest.mark.parametrize("name", ["LITESUP_OWN", "A_PROVIDERS_KEY"])
async def test_what_was_not_looked_at_while_loading_needs_no_other_fork_server(forked: Forked, name: str):
    first = forked.server
    await forked.launcher.prepare(ENVIRONMENT | {name: "1"})
    replica = await forked.launch(**{name: "1"})
    await listening(replica)
    assert forked.launcher.fork_server_pids == (first,)
    assert (await state_of(forked))["environment"] == {**ENVIRONMENT, name: "1"}


@pytest.mark.parametrize("name", ["FAKE_LOAD_READS", "LITESUP_LITELLM", "HTTPS_PROXY", "PYTHONHASHSEED"])
async def test_what_was_looked_at_or_may_have_been_gets_another_beside_the_first(forked: Forked, name: str):
    replica = await forked.launch()
    first = forked.server
    await forked.launcher.prepare(ENVIRONMENT | {name: "1"})
    assert forked.server != first
    assert forked.launcher.fork_server_pids == (first, forked.server)
    assert alive(replica.pid)


async def test_the_old_environment_is_launched_at_once_while_another_one_loads(forked: Forked):
    gate = forked.directory / "gate"
    waiting = ENVIRONMENT | {"FAKE_LOAD_WAITS": str(gate)}
    loading = asyncio.ensure_future(forked.launcher.prepare(waiting))
    try:
        for _ in range(2):
            await listening(await forked.launch())
        assert not loading.done()
        assert forked.kinds() == [ForkServerStarted]
    finally:
        gate.touch()
        await loading
    assert forked.kinds() == [ForkServerStarted] * 2


async def test_going_back_and_forth_between_two_environments_loads_nothing_again(forked: Forked):
    for _ in range(2):
        await listening(await forked.launch())
        await listening(await forked.launch(**READ))
    assert forked.kinds() == [ForkServerStarted] * 2


async def test_what_no_generation_needs_any_more_is_ended_and_replicas_stay(forked: Forked):
    replica = await forked.launch()
    first = forked.server
    await forked.launcher.prepare(ENVIRONMENT | READ)
    second = forked.server
    await forked.launcher.keep([ENVIRONMENT | READ, ENVIRONMENT])
    assert set(forked.launcher.fork_server_pids) == {first, second}
    await forked.launcher.keep([ENVIRONMENT | READ])
    assert set(forked.launcher.fork_server_pids) == {second}
    assert not alive(first)
    assert alive(replica.pid)
    assert ForkServerLost not in forked.kinds()


async def test_there_are_never_more_than_two_and_what_is_to_be_kept_stays(forked: Forked):
    first = forked.server
    await forked.launcher.keep([ENVIRONMENT])
    for value in "123":
        await forked.launcher.prepare(ENVIRONMENT | {"FAKE_LOAD_READS": value})
        assert forked.launcher.fork_server_pids == (first, forked.server)


async def test_one_that_loads_for_nobody_any_more_is_ended(forked: Forked):
    first = forked.server
    loading = asyncio.ensure_future(forked.launcher.prepare(ENVIRONMENT | {"FAKE_LOAD_WAITS": "/nowhere"}))
    begun: list[int] = await eventually(lambda: [pid for pid in forked.children() if pid != first], what="a second one")
    await forked.launcher.keep([ENVIRONMENT])
    with pytest.raises(LaunchFailed, match="ended while it was loaded"):
        await loading
    assert not any(alive(pid) for pid in begun)
    await listening(await forked.launch())
    assert forked.server == first


async def test_a_cancelled_preparation_does_not_take_it_from_another(forked: Forked):
    gate = forked.directory / "gate"
    waiting = ENVIRONMENT | {"FAKE_LOAD_WAITS": str(gate)}
    first, second = (asyncio.ensure_future(forked.launcher.prepare(waiting)) for _ in range(2))
    await asyncio.wait([first, second], timeout=0.05)
    first.cancel()
    gate.touch()
    async with asyncio.timeout(20):
        await second
    assert first.cancelled()
    assert forked.kinds() == [ForkServerStarted] * 2


@pytest.mark.parametrize("which", [0, 1])
async def test_a_killed_fork_server_of_either_environment_is_replaced_and_replicas_stay(forked: Forked, which: int):
    replicas = [await forked.launch(), await forked.launch(**READ)]
    before = forked.launcher.fork_server_pids
    os.kill(before[which], signal.SIGKILL)
    await eventually(
        lambda: len(forked.launcher.fork_server_pids) == 2 and before[which] not in forked.launcher.fork_server_pids,
        what="another fork server",
    )
    assert before[1 - which] in forked.launcher.fork_server_pids
    assert all(alive(replica.pid) for replica in replicas)


@pytest.mark.parametrize("environment", [{}, READ], ids=["first", "second"])
async def test_a_wedged_fork_server_of_either_environment_is_replaced(forked: Forked, environment: dict[str, str]):
    replicas = [await forked.launch(), await forked.launch(**READ)]
    wedged = forked.launcher.fork_server_pids[bool(environment)]
    os.kill(wedged, signal.SIGSTOP)
    several = await asyncio.gather(*(forked.launch(**environment) for _ in range(3)))
    for process in several:
        await listening(process)
    assert not alive(wedged)
    assert all(alive(replica.pid) for replica in replicas)
    assert len(forked.launcher.fork_server_pids) == 2
    assert forked.kinds().count(ForkServerStarted) == 3


async def test_one_that_is_lost_again_and_again_is_loaded_on_demand_only(forked: Forked):
    for losses in range(1, LOSSES + 1):
        os.kill(forked.server, signal.SIGKILL)
        await eventually(lambda count=losses: forked.kinds().count(ForkServerLost) == count, what="the loss")
        if losses < LOSSES:
            await eventually(lambda: forked.launcher.fork_server_pid is not None, what="another fork server")
    for _ in range(10):  # turns of the loop, in which another one would be begun
        await asyncio.sleep(0)
    assert forked.children() == []
    assert forked.kinds().count(ForkServerStarted) == LOSSES
    await listening(await forked.launch())


async def test_an_environment_in_which_nothing_can_be_imported_keeps_the_old_fork_server(forked: Forked):
    first = forked.server
    with pytest.raises(ForkServerUnusable, match="no such package"):
        await forked.launcher.prepare(ENVIRONMENT | {"FAKE_LOAD_FAILS": "no such package"})
    assert forked.server == first
    await listening(await forked.launch())


async def test_a_thread_in_the_fork_server_is_named(forked: Forked):
    with pytest.raises(ForkServerUnusable, match="a stray thread"):
        await forked.launcher.prepare(ENVIRONMENT | {"FAKE_LOAD_THREAD": "a stray thread"})


async def test_a_python_that_does_not_start_is_a_failed_launch(short_dir: Path):
    missing = ForkedLauncher(Events(), short_dir / "missing.py")
    with pytest.raises(LaunchFailed, match=r"missing\.py"):
        await missing.prepare(ENVIRONMENT)
    await missing.close()


async def state_of(forked: Forked) -> dict[str, Any]:
    """How the newest replica found itself when it started."""
    connector = aiohttp.UnixConnector(str(forked.directory / f"{forked.count}.sock"))
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.get("http://replica/fake/process") as response:
            state: dict[str, Any] = await response.json()
    return state


async def test_two_forked_replicas_draw_different_random_numbers(forked: Forked):
    drawn = []
    for _ in range(2):
        await listening(await forked.launch())
        drawn.append((await state_of(forked))["random"])
    assert drawn[0] != drawn[1]


async def test_an_orphan_is_reaped_only_after_its_possible_owner_had_time(forked: Forked):
    orphans = Orphans()
    replica = await forked.launch(FAKE_CHILD="1")
    await listening(replica)
    (child,) = (int(text) for text in Path(f"/proc/{replica.pid}/task/{replica.pid}/children").read_text().split())
    stranger = await asyncio.create_subprocess_exec("true")
    replica.kill()
    await replica.wait()
    await eventually(lambda: kernel.is_zombie(child), what="the orphan's end")
    assert child not in orphans.sweep()
    assert child in orphans.sweep()
    assert await stranger.wait() == 0


DAEMON = """
import asyncio, sys
from pathlib import Path
from supervisor.events import Events
from supervisor.fleet.launch.forked import ForkedLauncher
from supervisor.fleet.launch.plain import PlainLauncher
from supervisor.fleet.launch.spec import LaunchSpec
from tests.fake_litellm import PROGRAM

async def main(kind, directory):
    launcher = PlainLauncher(PROGRAM) if kind == "plain" else ForkedLauncher(Events(), PROGRAM)
    environment = {"PATH": "/usr/bin"}
    await launcher.prepare(environment)
    pids = [getattr(launcher, "fork_server_pid", None)]
    for number in (1, 2):
        spec = LaunchSpec(number, 0, (), environment, Path(directory, f"{number}.sock"), Path(directory))
        process = await launcher.launch(spec)
        pids.append(process.pid)
        async for line in process.output():
            if "listening" in line:
                break
    print(*(pid for pid in pids if pid), flush=True)
    await asyncio.sleep(3600)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("kind", ["plain", "fork"])
async def test_whatever_kills_the_daemon_replicas_and_fork_server_die(kind: str, short_dir: Path):
    script = short_dir / "daemon.py"
    script.write_text(DAEMON)
    root = Path(__file__).resolve().parents[2]
    daemon = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        kind,
        str(short_dir),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(root)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert daemon.stdout is not None
    async with asyncio.timeout(30):
        pids = [int(text) for text in (await daemon.stdout.readline()).split()]
    assert len(pids) == (2 if kind == "plain" else 3)
    assert all(alive(pid) for pid in pids)
    daemon.kill()
    await daemon.wait()
    await eventually(lambda: not any(alive(pid) for pid in pids), within=5, what="the end of everything")


@pytest.mark.parametrize("kind", ["plain", "fork"])
def test_it_works_on_uvloop(kind: str, short_dir: Path):
    async def life() -> str:
        launcher = PlainLauncher(PROGRAM) if kind == "plain" else ForkedLauncher(Events(), PROGRAM)
        await launcher.prepare(ENVIRONMENT)
        spec = LaunchSpec(1, 0, (), ENVIRONMENT, short_dir / "1.sock", short_dir)
        process = await launcher.launch(spec)
        await listening(process)
        process.terminate()
        async with asyncio.timeout(20):
            status = await process.wait()
        await launcher.close()
        return str(status)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(life()) == "exit 0"


async def test_a_head_start_is_taken_over_by_the_launcher_that_needs_it() -> None:
    events = Events()
    begun = begin(PROGRAM, ENVIRONMENT)
    launcher = ForkedLauncher(events, PROGRAM, head_start=begun)
    await launcher.prepare(ENVIRONMENT)
    assert launcher.fork_server_pid == begun.pid
    await launcher.close()
    assert not psutil.pid_exists(begun.pid)


async def test_a_head_start_for_another_environment_is_ended_and_not_used() -> None:
    begun = begin(PROGRAM, ENVIRONMENT)
    launcher = ForkedLauncher(Events(), PROGRAM, head_start=begun)
    await launcher.prepare({**ENVIRONMENT, "ANOTHER": "1"})
    assert launcher.fork_server_pid not in (None, begun.pid)
    assert not psutil.pid_exists(begun.pid)
    await launcher.close()


async def test_a_head_start_that_nobody_needed_is_ended_with_the_launcher() -> None:
    begun = begin(PROGRAM, ENVIRONMENT)
    await ForkedLauncher(Events(), PROGRAM, head_start=begun).close()
    assert not psutil.pid_exists(begun.pid)


async def test_a_head_start_whose_taking_over_is_cancelled_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cancelled(_output: Output, read_end: int) -> None:
        os.close(read_end)
        raise asyncio.CancelledError

    monkeypatch.setattr(Output, "attach", cancelled)
    begun = begin(PROGRAM, ENVIRONMENT)
    with pytest.raises(asyncio.CancelledError):
        await ForkServer.follow(begun, deadline=20)
    assert not psutil.pid_exists(begun.pid)
