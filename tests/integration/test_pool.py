"""The pool with real processes: crash, hang, drain, stop, roll-out. The replicas are not LiteLLM, so this takes seconds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from supervisor import events as ev
from supervisor.control.operations import ReloadResult
from supervisor.fleet.launch.plain import PlainLauncher
from supervisor.fleet.launch.spec import LaunchSpec
from supervisor.fleet.member import Member
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


def generation(name: str, **environment: str) -> Generation:
    inherited = {"PATH": os.environ["PATH"], **environment}
    return Generation(name, "", inherited, SecretStr("sk-test"), Path(__file__), (), ())


class Fleet:
    """A pool with a launcher, and what it announced."""

    def __init__(self, folder: Path, *, count: int = 2, settle: float = 0.3, stop_timeout: float = 5.0) -> None:
        self.folder = folder
        self.events = ev.Events()
        self.seen: list[ev.Event] = []
        self.events.subscribe(self.seen.append)
        self.rotation = Rotation(round_robin, QueueLimits(100, 5.0))
        self.launcher = PlainLauncher(fake_litellm.PROGRAM)
        self.times = ReplicaTimes(probe_interval=0.05, drain_timeout=10.0, stop_timeout=stop_timeout)
        rules = FleetRules(Rules(settle=settle, start_timeout=30.0, restart=RESTART), HealthRules(3, kill_after=0.5))
        self.pool = Pool(
            count, rotation=self.rotation, events=self.events, make_replica=self._make_replica, rules=rules
        )

    def _make_replica(
        self, number: int, slot: int, what: Generation, _path: Path, post: Callable[[Message], None]
    ) -> Replica:
        path = self.folder / f"r{number}.sock"
        return Replica(
            LaunchSpec(number, slot, (), what.environment, path, self.folder),
            environment=what.environment,
            launcher=self.launcher,
            probe=LivenessProbe(path, timeout=lambda: 2.0),
            warm_up=_warm,
            take_line=lambda _spec, _line: None,
            post=post,
            times=lambda: self.times,
        )

    def of(self, kind: type[ev.Event]) -> list[ev.Event]:
        return [event for event in self.seen if isinstance(event, kind)]

    @property
    def serving(self) -> list[Member]:
        return [member for member in self.pool.members if member.serving]

    async def ready(self, count: int = 2) -> None:
        await eventually(lambda: len(self.serving) == count, what=f"{count} replicas serve")

    async def want(self, what: Generation, *, again: bool = False) -> ReloadResult:
        async with asyncio.timeout(60):
            outcome = await self.pool.mailbox.want(what, self.folder, reason="test", again=again)
        return outcome.result


async def _warm(_replica: int) -> str | None:
    return None


@contextlib.asynccontextmanager
async def running(fleet: Fleet) -> AsyncIterator[Fleet]:
    task = asyncio.create_task(fleet.pool.run())
    try:
        yield fleet
    finally:
        fleet.pool.mailbox.stop()
        async with asyncio.timeout(30):
            await task
        await fleet.launcher.close()


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with running(Fleet(tmp_path)) as fleet:
        assert await fleet.want(generation("a")) is ReloadResult.ROLLED
        await fleet.ready()
        yield fleet


async def test_a_killed_replica_is_out_of_rotation_at_once_and_replaced(fleet: Fleet) -> None:
    victim = fleet.serving[0]
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    await eventually(lambda: fleet.rotation.get(victim.replica) is None, what="it is out of rotation")
    await fleet.ready()
    assert [(m.slot) for m in fleet.serving].count(victim.slot) == 1
    [exited] = fleet.of(ev.ReplicaExited)
    assert isinstance(exited, ev.ReplicaExited)
    assert (exited.status, exited.expected) == ("SIGKILL", False)


async def test_a_stopped_replica_becomes_suspect_and_is_then_killed_and_replaced(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    async with running(fleet):
        await fleet.want(generation("a"))
        await fleet.ready()
        victim = fleet.serving[0]
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGSTOP)
        await eventually(lambda: bool(fleet.of(ev.ReplicaSuspect)), what="it is suspect")
        await eventually(lambda: bool(fleet.of(ev.ReplicaKilled)), what="it is killed")
        await eventually(lambda: victim not in fleet.pool.members, what="it is gone")
        await fleet.ready()
    [killed] = fleet.of(ev.ReplicaKilled)
    assert isinstance(killed, ev.ReplicaKilled)
    assert "hung" in killed.reason


async def test_a_good_change_is_rolled_out(fleet: Fleet) -> None:
    assert await fleet.want(generation("b")) is ReloadResult.ROLLED
    assert {member.generation.digest for member in fleet.serving} == {"b"}


@pytest.mark.parametrize(
    "trouble", [{"FAKE_EXIT_STARTING": "3"}, {"FAKE_EXIT_AFTER": "0.1"}, {"FAKE_HANG_AFTER": "0.1"}], ids=str
)
async def test_a_bad_change_is_taken_back_and_the_old_replicas_never_stop(
    tmp_path: Path, trouble: dict[str, str]
) -> None:
    fleet = Fleet(tmp_path, settle=5.0)
    async with running(fleet):
        await fleet.want(generation("a"))
        before = {member.pid for member in fleet.serving}
        assert await fleet.want(generation("b", **trouble)) is ReloadResult.ROLLED_BACK
        assert {member.pid for member in fleet.serving} == before
        assert not [m for m in fleet.serving if m.generation.digest == "b"]


async def test_what_is_in_flight_keeps_a_draining_replica_alive_and_the_roll_out_does_not_wait(fleet: Fleet) -> None:
    upstream = await fleet.rotation.lease()
    assert await fleet.want(generation("b")) is ReloadResult.ROLLED
    held = next(member for member in fleet.pool.members if member.replica == upstream.replica)
    assert held.pid is not None
    os.kill(held.pid, 0)  # it runs
    fleet.rotation.release(upstream)
    await eventually(lambda: held not in fleet.pool.members, what="it left")


async def test_scaling_reaches_the_count(fleet: Fleet) -> None:
    fleet.pool.mailbox.scale(4)
    await fleet.ready(4)
    fleet.pool.mailbox.scale(1)
    await eventually(lambda: len(fleet.pool.members) == 1, what="one is left")


async def test_restart_brings_new_processes(fleet: Fleet) -> None:
    before = {member.pid for member in fleet.serving}
    async with asyncio.timeout(30):
        assert await fleet.pool.mailbox.replace(()) == (1, 2)
    assert not before & {member.pid for member in fleet.serving}


async def test_a_replica_that_ignores_the_term_signal_is_killed_with_a_reason(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, count=1, stop_timeout=0.2)
    async with running(fleet):
        await fleet.want(generation("a", FAKE_IGNORE_TERM="1"))
        await fleet.ready(1)
    [killed] = fleet.of(ev.ReplicaKilled)
    assert isinstance(killed, ev.ReplicaKilled)
    assert "SIGTERM" in killed.reason


async def test_a_generation_that_never_starts_is_tried_again_and_again(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, count=1)
    async with running(fleet):
        fleet.pool.mailbox.want(generation("a", FAKE_EXIT_STARTING="3"), tmp_path, reason="test", again=False)
        await eventually(lambda: len(fleet.of(ev.ReplicaExited)) >= 4, what="it was tried four times")
        assert fleet.of(ev.RestartDelayed)


async def test_nothing_is_left_after_the_end(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    async with running(fleet):
        await fleet.want(generation("a"))
        pids = [member.pid for member in fleet.serving]
    for pid in pids:
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not list(tmp_path.glob("*.sock"))
