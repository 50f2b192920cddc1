"""The daemon as a whole, in this process: real ports and real replicas that are not LiteLLM, and what is left at the end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from supervisor import events as ev
from supervisor.control.lock import InstanceLock
from supervisor.control.operations import ReloadResult
from supervisor.daemon import Daemon, MakeLauncher
from supervisor.errors import ConfigurationRefused, ExitCode, LitesupError
from supervisor.fleet.launch.auto import make_launcher
from supervisor.fleet.launch.spec import Launcher, LaunchSpec, Process
from supervisor.observe.logs import set_up_logging
from supervisor.settings.source import SettingsSource
from tests import fake_litellm
from tests.eventually import eventually

CONFIG = "model_list:\n  - model_name: {name}\n    litellm_params: {{model: openai/x, api_key: none}}\n"
PLAIN = functools.partial(make_launcher, program=fake_litellm.PROGRAM)


class Scene:
    """One daemon in a directory, and what it announced. Another one may have been there before."""

    def __init__(self, folder: Path, launcher: MakeLauncher = PLAIN, **sections: Mapping[str, Any]) -> None:
        self.config = folder / "litellm.config.yaml"
        if not self.config.exists():
            self.config.write_text(CONFIG.format(name="first"))
        self.runtime = folder / "run"
        self.runtime.mkdir(mode=0o700, exist_ok=True)
        (folder / "state").mkdir(mode=0o700, exist_ok=True)
        quick: dict[str, Any] = {
            "replicas": {"count": 2, "launcher": "plain", "warm_up_timeout": 0.01, "stop_timeout": 5.0},
            "balancer": {"host": ["127.0.0.1"], "port": 0},
            "admin": {"enabled": False},
            "rollout": {"settle": 0.05, "watch": False},
            "logs": {"format": "json"},
        }
        for name, section in sections.items():
            quick[name] = {**quick.get(name, {}), **section}
        self.settings_file = folder / "litesup.yaml"
        self.said: dict[str, Any] = {"config": str(self.config), **quick}
        self.settings_file.write_text(yaml.safe_dump(self.said))
        source = SettingsSource({}, {}, self.settings_file)
        settings = source.read()
        environ = {"PATH": os.environ["PATH"]}
        self.seen: list[ev.Event] = []
        self._quiet = os.open(os.devnull, os.O_WRONLY)
        self.logging = set_up_logging(settings.logs, environ, descriptor=self._quiet)
        self.lock = InstanceLock(self.runtime)
        self.lock.acquire()
        self.daemon = Daemon(
            settings,
            environ,
            self.runtime,
            folder / "state",
            self.lock,
            self.logging,
            [self.seen.append],
            make_launcher=launcher,
            source=source,
        )

    def set(self, **sections: Mapping[str, Any]) -> None:
        """Saves litesup.yaml with these settings beside those before."""
        for name, section in sections.items():
            self.said[name] = {**self.said.get(name, {}), **section}
        self.settings_file.write_text(yaml.safe_dump(self.said))

    def close(self) -> None:
        self.logging.close()
        self.lock.release()
        os.close(self._quiet)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().remove_signal_handler(number)

    def of(self, kind: type[ev.Event]) -> list[Any]:
        return [event for event in self.seen if isinstance(event, kind)]

    @property
    def url(self) -> str:
        return f"http://{self.daemon.status().balancer.listening[0]}"

    async def ready(self, count: int = 2) -> None:
        await eventually(lambda: self.daemon.status().ready_replicas == count, what=f"{count} replicas are ready")

    def left(self) -> list[str]:
        """Sockets in the runtime directory, and replicas that still run."""
        sockets = [path.name for path in self.runtime.iterdir() if stat.S_ISSOCK(path.stat().st_mode)]
        return sockets + [f"replica {event.pid}" for event in self.of(ev.ReplicaSpawned) if _runs(event.pid)]


def _runs(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@contextlib.asynccontextmanager
async def running(scene: Scene) -> AsyncIterator[asyncio.Task[int]]:
    """Whatever happens, nothing of it is left."""
    task = asyncio.create_task(scene.daemon.run())
    try:
        yield task
    finally:
        if not task.done():
            await scene.daemon.stop()
        try:
            async with asyncio.timeout(30):
                await asyncio.wait([task])
        finally:
            scene.close()
        assert scene.left() == []


async def ended(task: asyncio.Task[int]) -> int:
    async with asyncio.timeout(30):
        return await task


class NeverReady:
    """A launcher whose fork server loads, and loads."""

    name = "never"

    def __init__(self) -> None:
        self.closed = False

    async def prepare(self, environment: Mapping[str, str]) -> None:
        await asyncio.Event().wait()

    async def keep(self, environments: Sequence[Mapping[str, str]]) -> None:
        pass

    async def launch(self, spec: LaunchSpec) -> Process:
        raise AssertionError("nothing is ever ready")

    async def close(self) -> None:
        self.closed = True


async def test_it_starts_answers_health_and_leaves_nothing_behind(short_dir: Path) -> None:
    scene = Scene(short_dir)
    async with running(scene) as task:
        await scene.ready()
        async with aiohttp.ClientSession() as session, session.get(f"{scene.url}/health/readiness") as response:
            assert response.status == 200
        await scene.daemon.stop()
        assert await ended(task) == ExitCode.DONE
    assert [event.reason for event in scene.of(ev.DaemonStopping)] == ["litesup stop"]
    assert all(event.expected for event in scene.of(ev.ReplicaExited))


@pytest.mark.parametrize(("section", "enabled"), [("balancer", {}), ("admin", {"enabled": True})])
async def test_a_port_that_is_taken_is_a_clear_error_and_leaves_nothing(
    short_dir: Path, section: str, enabled: dict[str, bool]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        launcher = NeverReady()
        scene = Scene(short_dir, lambda _choice, _events: launcher, **{section: {"port": port} | enabled})
        with pytest.raises(LitesupError, match=str(port)):
            async with running(scene) as task:
                await ended(task)
    assert launcher.closed
    assert not scene.of(ev.DaemonStarted)


async def test_a_runtime_directory_that_is_too_long_for_sockets_is_refused_at_once(short_dir: Path) -> None:
    deep = short_dir / ("d" * 100)
    deep.mkdir()
    scene = Scene(deep)
    with pytest.raises(ConfigurationRefused, match="runtime-dir"):
        async with running(scene) as task:
            await ended(task)


async def test_a_configuration_that_cannot_be_rendered_ends_the_start_with_a_finding(short_dir: Path) -> None:
    scene = Scene(short_dir)
    with pytest.MonkeyPatch.context() as disk:

        def full(*_: object) -> Path:
            raise OSError(28, "No space left on device")

        disk.setattr("supervisor.reload.write_rendered", full)
        with pytest.raises(ConfigurationRefused, match="No space left"):
            async with running(scene) as task:
                await ended(task)


async def test_a_signal_ends_it_while_the_launcher_is_still_getting_ready(short_dir: Path) -> None:
    launcher = NeverReady()
    scene = Scene(short_dir, lambda _choice, _events: launcher)
    async with running(scene) as task:
        await eventually(lambda: bool(scene.daemon.status().replicas[0].replica), what="a replica is asked for")
        os.kill(os.getpid(), signal.SIGTERM)
        assert await ended(task) == ExitCode.DONE
    assert launcher.closed


async def test_a_second_signal_waits_neither_for_requests_nor_for_replicas(short_dir: Path) -> None:
    scene = Scene(short_dir, stop={"drain": 600.0}, replicas={"count": 1, "stop_timeout": 600.0})
    scene.daemon._reloader._environ = {**scene.daemon._reloader._environ, "FAKE_IGNORE_TERM": "1"}
    async with running(scene) as task, aiohttp.ClientSession() as session:
        await scene.ready(1)
        target = f"{scene.url}/v1/chat/completions"
        held = asyncio.create_task(session.post(target, json={}, headers={"x-fake-delay": "600"}))
        await eventually(lambda: scene.daemon.status().balancer.in_flight == 1, what="a request is in flight")
        os.kill(os.getpid(), signal.SIGINT)
        await eventually(lambda: bool(scene.of(ev.DaemonStopping)), what="it is stopping")
        assert not task.done()
        os.kill(os.getpid(), signal.SIGINT)
        assert await ended(task) == ExitCode.DONE
        await asyncio.wait([held])
    [killed] = scene.of(ev.ReplicaKilled)
    assert "twice" in killed.reason


async def test_a_hangup_reloads(short_dir: Path) -> None:
    scene = Scene(short_dir)
    async with running(scene):
        await scene.ready()
        scene.config.write_text(CONFIG.format(name="second"))
        os.kill(os.getpid(), signal.SIGHUP)
        await eventually(lambda: bool(scene.of(ev.RolloutCompleted)[1:]), what="the second roll-out is complete")
        assert [event.reason for event in scene.of(ev.RolloutStarted)] == ["SIGHUP"]


async def test_a_hangup_during_the_start_is_not_lost_and_does_not_come_first(short_dir: Path) -> None:
    scene = Scene(short_dir)
    opening, go_on = asyncio.Event(), asyncio.Event()
    start = scene.daemon._stub.start

    async def slowly() -> str:
        opening.set()
        await go_on.wait()
        return await start()

    scene.daemon._stub.start = slowly  # type: ignore[method-assign]
    async with running(scene):
        await opening.wait()
        scene.config.write_text(CONFIG.format(name="second"))
        os.kill(os.getpid(), signal.SIGHUP)
        await eventually(lambda: bool(scene.daemon._reloads), what="the signal has arrived")
        go_on.set()
        await eventually(lambda: scene.daemon.status().generation.reason == "SIGHUP", what="the newer one is wanted")
        await scene.ready()


async def test_a_reload_that_is_told_while_it_stops_is_an_error_and_nobody_waits(short_dir: Path) -> None:
    scene = Scene(short_dir)
    async with running(scene) as task:
        await scene.ready()
        assert (await scene.daemon.reload(wait=True)).result is ReloadResult.UNCHANGED
        await scene.daemon.stop()
        with pytest.raises(LitesupError, match="stops"):
            await scene.daemon.reload(wait=True)
        assert await ended(task) == ExitCode.DONE


async def test_a_changed_file_that_cannot_be_rolled_out_does_not_end_it(short_dir: Path) -> None:
    scene = Scene(short_dir, rollout={"watch": True, "debounce": 0.01})
    async with running(scene) as task:
        await scene.ready()
        with pytest.MonkeyPatch.context() as disk:

            def full(*_: object) -> Path:
                raise OSError(28, "No space left on device")

            disk.setattr("supervisor.reload.write_rendered", full)
            scene.config.write_text(CONFIG.format(name="second"))
            await eventually(lambda: bool(scene.of(ev.ConfigurationChangeRefused)), what="it is refused")
        assert not task.done()
        assert scene.daemon.status().ready_replicas == 2


def test_the_launchers_are_what_the_daemon_takes() -> None:
    launcher: Launcher = NeverReady()
    assert launcher.name == "never"


async def test_saved_settings_reach_the_parts_that_go_by_them(short_dir: Path) -> None:
    scene = Scene(short_dir, rollout={"watch": True, "debounce": 0.01})
    async with running(scene), aiohttp.ClientSession() as session:
        await scene.ready()
        pids = {event.pid for event in scene.of(ev.ReplicaReady)}
        scene.set(
            replicas={"count": 3},
            balancer={"policy": "least_outstanding", "port": 8080},
            access={"allow": ["10.0.0.0/8"]},
            logs={"level": "warning"},
            queue={"size": 7},
        )
        await scene.ready(3)
        assert pids < {event.pid for event in scene.of(ev.ReplicaReady)}, "nobody was replaced"
        async with session.post(f"{scene.url}/v1/chat/completions", json={}) as response:
            assert response.status == 403
        status = scene.daemon.status()
        assert status.balancer.policy == "least_outstanding"
        assert status.settings.needs_restart == ("balancer.port (0 → 8080)",)
        assert scene.daemon._rotation._limits.size == 7


async def test_a_count_that_was_set_by_hand_holds_until_the_file_names_another(short_dir: Path) -> None:
    scene = Scene(short_dir)
    async with running(scene):
        await scene.ready()
        await scene.daemon.scale(1)
        await scene.ready(1)
        scene.set(queue={"size": 7})
        assert (await scene.daemon.reload(wait=True)).settings.applied == ("queue.size (1000 → 7)",)
        assert scene.daemon.status().wanted_replicas == 1
        scene.set(replicas={"count": 3})
        await scene.daemon.reload(wait=True)
        await scene.ready(3)


async def test_what_replicas_are_started_with_replaces_them_one_after_the_other(short_dir: Path) -> None:
    scene = Scene(short_dir)
    async with running(scene):
        await scene.ready()
        before = {event.pid for event in scene.of(ev.ReplicaReady)}
        scene.set(logs={"litellm_debug": True})
        outcome = await scene.daemon.reload(wait=True)
        assert outcome.result is ReloadResult.ROLLED
        assert outcome.settings.applied == ("logs.litellm_debug (false → true)",)
        after = {event.pid for event in scene.of(ev.ReplicaReady)} - before
        assert len(after) == 2
        assert all(b"--detailed_debug" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in after)
        assert not any(event.pid in after for event in scene.of(ev.ReplicaExited))


async def test_an_end_while_replicas_are_replaced_is_no_error(short_dir: Path) -> None:
    unread: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unread.append(context))
    scene = Scene(short_dir)
    async with running(scene) as task:
        await scene.ready()
        scene.set(logs={"litellm_debug": True})
        await scene.daemon.reload(wait=False)
        os.kill(os.getpid(), signal.SIGTERM)
        await ended(task)
    gc.collect()
    assert unread == []


async def test_a_broken_settings_file_is_refused_while_the_configuration_is_rolled_out(short_dir: Path) -> None:
    scene = Scene(short_dir)
    async with running(scene):
        await scene.ready()
        good = scene.settings_file.read_text()
        scene.settings_file.write_text("queue: {size: [\n")
        scene.config.write_text(CONFIG.format(name="second"))
        outcome = await scene.daemon.reload(wait=True)
        assert outcome.result is ReloadResult.ROLLED
        [problem] = outcome.settings.problems
        assert str(scene.settings_file) in problem
        assert scene.daemon.status().settings.refused == outcome.settings.problems
        scene.settings_file.write_text(good)
        assert (await scene.daemon.reload(wait=True)).settings.problems == ()
        assert scene.daemon.status().settings.refused_at is None


async def test_settings_that_would_open_the_port_to_everybody_are_refused(short_dir: Path) -> None:
    scene = Scene(short_dir, balancer={"host": ["0.0.0.0"]}, access={"allow": ["127.0.0.0/8"]})
    async with running(scene):
        await scene.ready()
        scene.said["access"] = {}
        scene.set(balancer={"host": ["127.0.0.1"]})
        outcome = await scene.daemon.reload(wait=True)
        assert any("access" in problem for problem in outcome.settings.problems)
