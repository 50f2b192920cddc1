"""A roll-out to another environment, with real fork servers: what is loaded when, and what goes on meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
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
from tests.processes import Children

RESTART = RestartRules(initial=0.05, maximum=0.2, maximum_when_short=0.05, early=0.5)

pytestmark = pytest.mark.integration


def generation(name: str, **environment: str) -> Generation:
    inherited = {"PATH": os.environ["PATH"], **environment}
    return Generation(name, "", inherited, SecretStr("sk-test"), Path(__file__), (), ())


class Fleet:
    def __init__(self, folder: Path, count: int = 2) -> None:
        self.children = Children()
        self.folder = folder
        self.events = ev.Events()
        self.seen: list[ev.Event] = []
        self.events.subscribe(self.seen.append)
        self.launcher = ForkedLauncher(self.events, fake_litellm.PROGRAM)
        self.rotation = Rotation(round_robin, QueueLimits(100, 5.0))
        self.times = ReplicaTimes(probe_interval=0.05, drain_timeout=10.0, stop_timeout=5.0)
        self.pool = Pool(
            count,
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
        everywhere = [digest] * self.pool.count
        await eventually(
            lambda: [one for one, _ in self.serving()] == everywhere, within=60, what=f"{digest} everywhere"
        )


async def _warm(_number: int) -> None:
    return None


@contextlib.asynccontextmanager
async def running(made: Fleet) -> AsyncIterator[Fleet]:
    task = asyncio.create_task(made.pool.run())
    try:
        yield made
    finally:
        made.pool.mailbox.stop()
        await asyncio.wait([task], timeout=20)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await made.launcher.close()


@pytest.fixture
async def fleet(short_dir: Path) -> AsyncIterator[Fleet]:
    async with running(Fleet(short_dir)) as made:
        made.want(generation("old"))
        await made.serves("old")
        yield made


async def test_nothing_is_taken_away_while_it_loads_and_what_falls_comes_back_at_once(fleet: Fleet) -> None:
    gate = fleet.folder / "gate"
    (first,) = fleet.launcher.fork_server_pids
    outcome = fleet.want(generation("new", FAKE_LOAD_WAITS=str(gate)))
    await eventually(lambda: len(fleet.children()) == 4, what="a second fork server")
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
    await eventually(lambda: len(fleet.children()) == 4, what="a second fork server")
    second = fleet.want(generation("new", FAKE_LOAD_READS="1"))
    assert (await first).result is ReloadResult.SUPERSEDED
    assert (await second).result is ReloadResult.ROLLED
    await eventually(lambda: len(fleet.children()) == 3, what="two replicas and one fork server")


async def test_after_a_roll_back_the_new_fork_server_is_ended(fleet: Fleet) -> None:
    servers = fleet.launcher.fork_server_pids
    outcome = await fleet.want(generation("new", FAKE_LOAD_READS="1", FAKE_EXIT_STARTING="3"))
    assert outcome.result is ReloadResult.ROLLED_BACK
    await eventually(lambda: fleet.launcher.fork_server_pids == servers, what="the end of the new fork server")
    assert fleet.count(ev.ForkServerStarted) == 2


async def test_it_stops_while_it_loads(fleet: Fleet) -> None:
    fleet.want(generation("stuck", FAKE_LOAD_WAITS="/nowhere"))
    await eventually(lambda: len(fleet.children()) == 4, what="a second fork server")
    fleet.pool.mailbox.stop()
    await eventually(lambda: not fleet.pool.members, what="the end of all replicas")


async def test_with_a_database_one_starts_first_and_migrates_and_all_others_do_not(short_dir: Path) -> None:
    gate = short_dir / "gate"
    async with running(Fleet(short_dir, count=3)) as made:
        made.want(with_database("first", gate))
        await eventually(lambda: made.count(ev.ReplicaSpawned) == 1, what="the first replica")
        os.kill(made.pool.members[0].pid or 0, signal.SIGKILL)
        await eventually(lambda: made.count(ev.ReplicaSpawned) == 2, what="the next one to try")
        assert len(made.pool.members) == 1
        gate.touch()
        await made.serves("first")
        assert sorted((await told(made)).values()) == ["", "true", "true"]
        migrated = next(pid for pid, text in (await told(made)).items() if not text)
        os.kill(migrated or 0, signal.SIGKILL)
        await eventually(lambda: migrated not in {pid for _, pid in made.serving()}, what="the death")
        await made.serves("first")
        assert [*(await told(made)).values()] == ["true"] * 3

        assert (await made.want(with_database("second", gate))).result is ReloadResult.ROLLED
        await made.serves("second")
        assert sorted((await told(made)).values()) == ["", "true", "true"]
        assert made.count(ev.ForkServerStarted) == 1


async def test_a_canary_that_migrates_holds_nothing_else_up(short_dir: Path) -> None:
    async with running(Fleet(short_dir)) as made:
        made.want(generation("old"))
        await made.serves("old")
        outcome = made.want(with_database("new", short_dir / "gate"))
        await eventually(lambda: len(made.pool.members) == 3, what="the canary")
        _, pid = made.serving()[0]
        os.kill(pid or 0, signal.SIGKILL)
        await eventually(lambda: pid not in {one for _, one in made.serving()}, what="the death")
        await made.serves("old")
        (short_dir / "gate").touch()
        assert (await outcome).result is ReloadResult.ROLLED


def with_database(name: str, gate: Path) -> Generation:
    return dataclasses.replace(generation(name, FAKE_MIGRATES=str(gate)), migrates=True)


async def told(made: Fleet) -> dict[int | None, str]:
    """What each replica that serves was told about the schema."""
    heard = {}
    for member in made.pool.members:
        if member.serving:
            connector = aiohttp.UnixConnector(str(member.shell.spec.socket_path))
            async with aiohttp.ClientSession(connector=connector) as session:
                async with session.get("http://replica/fake/process") as response:
                    environment = (await response.json())["environment"]
            heard[member.pid] = str(environment.get("DISABLE_SCHEMA_UPDATE", ""))
    return heard
