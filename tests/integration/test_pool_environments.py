"""A roll-out to another environment, with real fork servers: what is loaded when, and what goes on meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from supervisor import events as ev
from supervisor.control.operations import ReloadOutcome, ReloadResult
from supervisor.fleet.launch.forked import ForkedLauncher
from supervisor.fleet.launch.spec import LaunchSpec
from supervisor.fleet.messages import FleetRules, Message
from supervisor.fleet.pool import Pool
from supervisor.fleet.probe import LivenessProbe
from supervisor.fleet.replica import Replica, ReplicaTimes
from supervisor.litellm_config.generation import Generation
from supervisor.policy.balancing import round_robin
from supervisor.policy.health import HealthRules
from supervisor.policy.queueing import QueueLimits
from supervisor.policy.restart import RestartRules
from supervisor.policy.rollout import Rules
from supervisor.rotation import Rotation
from tests import fake_litellm
from tests.eventually import eventually

RESTART = RestartRules(initial=0.05, maximum=0.2, maximum_when_short=0.05, early=0.5)

pytestmark = pytest.mark.integration


def generation(name: str, **environment: str) -> Generation:
    inherited = {"PATH": os.environ["PATH"], **environment}
    return Generation(name, "", inherited, SecretStr("sk-test"), Path(__file__), (), ())


class Fleet:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events = ev.Events()
        self.seen: list[ev.Event] = []
        self.events.subscribe(self.seen.append)
        self.launcher = ForkedLauncher(self.events, fake_litellm.PROGRAM)
        self.rotation = Rotation(round_robin, QueueLimits(100, 5.0))
        self.times = ReplicaTimes(probe_interval=0.05, drain_timeout=10.0, stop_timeout=5.0)
        self.pool = Pool(
            2,
            rotation=self.rotation,
            events=self.events,
            make_replica=self._make_replica,
            rules=FleetRules(Rules(settle=0.1, start_timeout=20.0, restart=RESTART), HealthRules(9, kill_after=30.0)),
            launcher=self.launcher,
        )

    def _make_replica(
        self, number: int, slot: int, what: Generation, _path: Path, post: Callable[[Message], None]
    ) -> Replica:
        path = self.folder / f"r{number}.sock"
        return Replica(
            LaunchSpec(number, slot, (), what.environment, path, self.folder),
            environment=what.environment,
            launcher=self.launcher,
            probe=LivenessProbe(path, timeout=lambda: 20.0),
            warm_up=_warm,
            take_line=lambda _spec, _line: None,
            post=post,
            times=lambda: self.times,
        )

    def want(self, what: Generation) -> asyncio.Future[ReloadOutcome]:
        return self.pool.mailbox.want(what, self.folder, reason="test", again=False)

    def count(self, kind: type[ev.Event]) -> int:
        return sum(isinstance(event, kind) for event in self.seen)

    def serving(self) -> list[tuple[str, int | None]]:
        return sorted((member.generation.digest, member.pid) for member in self.pool.members if member.serving)

    async def serves(self, digest: str) -> None:
        await eventually(
            lambda: [one for one, _ in self.serving()] == [digest, digest], within=60, what=f"{digest} everywhere"
        )


async def _warm(_number: int) -> None:
    return None


@pytest.fixture
async def fleet(short_dir: Path) -> AsyncIterator[Fleet]:
    made = Fleet(short_dir)
    running = asyncio.create_task(made.pool.run())
    made.want(generation("old"))
    await made.serves("old")
    yield made
    made.pool.mailbox.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(20):
            await asyncio.wait([running])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await made.launcher.close()


async def test_nothing_is_taken_away_while_it_loads_and_what_falls_comes_back_at_once(fleet: Fleet) -> None:
    gate = fleet.folder / "gate"
    (first,) = fleet.launcher.fork_server_pids
    outcome = fleet.want(generation("new", FAKE_LOAD_WAITS=str(gate)))
    await eventually(lambda: len(children()) == 4, what="a second fork server")
    assert fleet.launcher.fork_server_pids == (first,)
    _, pid = fleet.serving()[0]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: pid not in {one for _, one in fleet.serving()}, what="the death")
    await fleet.serves("old")
    assert fleet.count(ev.ReplicaDraining) == 0
    assert {event.generation for event in fleet.seen if isinstance(event, ev.ReplicaSpawned)} == {"old"}
    gate.touch()
    assert (await outcome).result is ReloadResult.ROLLED
    await fleet.serves("new")
    await eventually(lambda: len(fleet.launcher.fork_server_pids) == 1, what="the end of the old fork server")
    assert first not in fleet.launcher.fork_server_pids
    assert fleet.count(ev.ForkServerStarted) == 2
    assert fleet.count(ev.ForkServerLost) == 0


async def test_another_environment_that_loads_the_same_uses_the_fork_server_that_is_there(fleet: Fleet) -> None:
    before = fleet.launcher.fork_server_pids
    assert (await fleet.want(generation("new", NEW_KEY="1"))).result is ReloadResult.ROLLED
    await fleet.serves("new")
    assert fleet.launcher.fork_server_pids == before
    assert fleet.count(ev.ForkServerStarted) == 1


async def test_what_cannot_be_loaded_is_rolled_back_before_it_began(fleet: Fleet) -> None:
    before, servers = fleet.serving(), fleet.launcher.fork_server_pids
    outcome = await fleet.want(generation("new", FAKE_LOAD_FAILS="no such package"))
    assert outcome.result is ReloadResult.ROLLED_BACK
    assert "no such package" in outcome.problems[0]
    assert fleet.serving() == before
    assert fleet.launcher.fork_server_pids == servers


async def test_a_newer_change_ends_what_loads_for_nobody_any_more(fleet: Fleet) -> None:
    first = fleet.want(generation("stuck", FAKE_LOAD_WAITS="/nowhere"))
    await eventually(lambda: len(children()) == 4, what="a second fork server")
    second = fleet.want(generation("new", FAKE_LOAD_READS="1"))
    assert (await first).result is ReloadResult.SUPERSEDED
    assert (await second).result is ReloadResult.ROLLED
    await eventually(lambda: len(children()) == 3, what="two replicas and one fork server")


async def test_after_a_roll_back_the_new_fork_server_is_ended(fleet: Fleet) -> None:
    servers = fleet.launcher.fork_server_pids
    outcome = await fleet.want(generation("new", FAKE_LOAD_READS="1", FAKE_EXIT_STARTING="3"))
    assert outcome.result is ReloadResult.ROLLED_BACK
    await eventually(lambda: fleet.launcher.fork_server_pids == servers, what="the end of the new fork server")
    assert fleet.count(ev.ForkServerStarted) == 2


async def test_it_stops_while_it_loads(fleet: Fleet) -> None:
    fleet.want(generation("stuck", FAKE_LOAD_WAITS="/nowhere"))
    await eventually(lambda: len(children()) == 4, what="a second fork server")
    fleet.pool.mailbox.stop()
    await eventually(lambda: not fleet.pool.members, what="the end of all replicas")


def children() -> list[int]:
    return [child.pid for child in psutil.Process().children()]
