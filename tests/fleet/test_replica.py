"""The shell around one process: it says what happened, in order, and decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from supervisor.fleet.launch.spec import LaunchSpec
from supervisor.fleet.messages import Answered, Drained, Exited, Launched, Message, Overstayed, Probed, Unfit, Warmed
from supervisor.fleet.replica import Replica, ReplicaTimes
from tests.fakes import FakeLauncher, FakeProcess


class ScriptedProbe:
    """Answers what it is told, once per entry, then what it said last."""

    def __init__(self) -> None:
        self.answers: list[str | None] = [None]

    async def ask(self) -> str | None:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Scene:
    def __init__(self, folder: Path) -> None:
        self.socket_path = folder / "r1.sock"
        self.spec = LaunchSpec(1, 1, ("--config", "x"), {"LITESUP_OWN": "1"}, self.socket_path, folder)
        self.launcher = FakeLauncher()
        self.probe = ScriptedProbe()
        self.lines: list[str] = []
        self.warm: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self.mail: asyncio.Queue[Message] = asyncio.Queue()
        self.replica = Replica(
            self.spec,
            environment={"SHARED": "1"},
            launcher=self.launcher,
            probe=self.probe,
            warm_up=self._warm_up,
            take_line=lambda _spec, line: self.lines.append(line),
            post=self.mail.put_nowait,
            times=lambda: ReplicaTimes(probe_interval=0.001, drain_timeout=0.05, stop_timeout=0.05),
        )

    async def _warm_up(self, _replica: int) -> str | None:
        return await self.warm

    @property
    def process(self) -> FakeProcess:
        return self.launcher.processes[-1]

    def listen(self) -> None:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(self.socket_path))

    async def next(self) -> Message:
        async with asyncio.timeout(5):
            return await self.mail.get()

    async def next_of(self, kind: type[Message]) -> Message:
        while not isinstance(message := await self.next(), kind):
            pass
        return message


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    scene = Scene(tmp_path)
    task = asyncio.create_task(scene.replica.run())
    yield scene
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_life_is_told_in_order(scene: Scene) -> None:
    assert await scene.next() == Launched(1, scene.process.pid)
    scene.listen()
    assert await scene.next() == Answered(1)
    scene.warm.set_result(None)
    assert await scene.next() == Warmed(1, None)
    assert await scene.next() == Probed(1, None)
    scene.process.exit(code=3)
    exited = await scene.next_of(Exited)
    assert isinstance(exited, Exited)
    assert str(exited.status) == "exit 3"
    assert not scene.socket_path.exists()


async def test_one_that_must_not_serve_says_why_and_never_that_it_is_warm(scene: Scene) -> None:
    async def examine() -> str | None:
        return "a model is missing"

    scene.replica._examine = examine
    await scene.next()
    scene.listen()
    assert await scene.next() == Answered(1)
    scene.warm.set_result(None)
    assert await scene.next() == Unfit(1, "a model is missing")


async def test_the_launcher_prepares_for_what_all_replicas_share(scene: Scene) -> None:
    await scene.next()
    assert scene.launcher.prepared == [{"SHARED": "1"}]


async def test_a_socket_that_does_not_answer_is_not_ready(scene: Scene) -> None:
    scene.probe.answers = ["refused", "refused", None]
    await scene.next()
    scene.listen()
    assert await scene.next() == Answered(1)


async def test_a_missed_probe_is_told_with_its_reason(scene: Scene) -> None:
    scene.warm.set_result(None)
    scene.listen()
    await scene.next_of(Warmed)
    scene.probe.answers = ["no answer within 2 s"]
    message = await scene.next_of(Probed)
    while message == Probed(1, None):
        message = await scene.next()
    assert message == Probed(1, "no answer within 2 s")


async def test_an_incomplete_warm_up_is_told_and_does_not_hold_it_back(scene: Scene) -> None:
    await scene.next()
    scene.listen()
    scene.warm.set_result("no report within 10 s")
    assert await scene.next_of(Warmed) == Warmed(1, "no report within 10 s")


async def test_its_last_words_are_passed_on_before_its_end_is_told(scene: Scene) -> None:
    await scene.next()
    scene.process.print("LiteLLM proxy refused to start: the master key is empty.")
    scene.process.exit(code=3)
    await scene.next_of(Exited)
    assert scene.lines == ["LiteLLM proxy refused to start: the master key is empty."]


async def test_told_to_stop_it_gets_a_term_signal(scene: Scene) -> None:
    await scene.next()
    scene.replica.stop()
    await scene.next_of(Exited)
    assert scene.process.received == [signal.SIGTERM]


async def test_one_that_does_not_stop_in_time_is_reported_and_not_killed_without_being_told(scene: Scene) -> None:
    await scene.next()
    scene.process.ignores_term = True
    scene.replica.stop()
    assert await scene.next_of(Overstayed) == Overstayed(1)
    assert scene.process.received == [signal.SIGTERM]
    scene.replica.kill()
    await scene.next_of(Exited)


async def test_draining_ends_when_nothing_is_in_flight(scene: Scene) -> None:
    await scene.next()
    await scene.replica.drain(asyncio.sleep(0))
    assert await scene.next_of(Drained) == Drained(1)


async def test_draining_ends_at_its_deadline(scene: Scene) -> None:
    await scene.next()
    await scene.replica.drain(asyncio.Event().wait())  # never idle
    assert await scene.next_of(Drained) == Drained(1)


async def test_a_launch_that_fails_is_an_exit_with_a_reason(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.launcher.refuse("no memory")
    await scene.replica.run()
    exited = await scene.next()
    assert isinstance(exited, Exited)
    assert exited.status is None
    assert "no memory" in exited.error


async def test_one_that_is_stopped_before_it_exists_is_never_launched(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.replica.stop()
    await scene.replica.run()
    assert isinstance(await scene.next(), Exited)
    assert not scene.launcher.processes


async def test_a_cancelled_shell_leaves_no_process(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    task = asyncio.create_task(scene.replica.run())
    await scene.next()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert not scene.process.running


class SlowLauncher(FakeLauncher):
    """Prepares for ever, as a fork server that loads LiteLLM does for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.preparing = asyncio.Event()
        self.given_up = False

    async def prepare(self, environment: Mapping[str, str]) -> None:
        self.preparing.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up = True


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_told_to_leave_it_does_not_wait_for_the_launcher_to_get_ready(tmp_path: Path, how: str) -> None:
    scene = Scene(tmp_path)
    launcher = scene.replica._launcher = SlowLauncher()
    async with asyncio.timeout(5):
        async with asyncio.TaskGroup() as group:
            group.create_task(scene.replica.run())
            await launcher.preparing.wait()
            getattr(scene.replica, how)()
    assert isinstance(await scene.next(), Exited)
    assert launcher.given_up
    assert not launcher.processes


async def test_a_machine_that_is_out_of_descriptors_is_a_failed_launch(tmp_path: Path) -> None:
    scene = Scene(tmp_path)

    async def launch(_spec: LaunchSpec) -> FakeProcess:
        raise OSError(24, "Too many open files")

    scene.launcher.launch = launch  # type: ignore[assignment, method-assign]
    await scene.replica.run()
    exited = await scene.next()
    assert isinstance(exited, Exited)
    assert "Too many open files" in exited.error
