"""The composition root: builds every part in order, runs them in one TaskGroup, stops them in reverse.

Owns the daemon's own life: that it starts, that a signal ends or reloads it, that nothing of it is left. Everything
else belongs to the parts; what an operator may ask of them together is `Daemon`, which implements
`control.operations.Operations`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from supervisor import events as ev
from supervisor import rules
from supervisor.admin import AdminServer
from supervisor.allocator import GiveBack
from supervisor.balancer.server import Balancer
from supervisor.control import wire
from supervisor.control.lock import InstanceLock
from supervisor.control.operations import HistoryEntry, LogLine, ReloadOutcome, ReloadResult
from supervisor.control.server import ControlServer
from supervisor.errors import ExitCode, LitesupError
from supervisor.fleet.launch.auto import make_launcher
from supervisor.fleet.launch.command import check_socket_path
from supervisor.fleet.launch.forkserver import HeadStart
from supervisor.fleet.launch.spec import Launcher
from supervisor.fleet.launch.stub import WarmUpStub
from supervisor.fleet.pool import Pool
from supervisor.fleet.recycler import Recycler
from supervisor.fleet.snapshot import replica_statuses
from supervisor.garbage import spare_what_stays
from supervisor.history.first import First
from supervisor.history.keeper import HEARS as HEARD_BY_KEEPER
from supervisor.history.keeper import Keeper
from supervisor.history.store import History
from supervisor.litellm_config.generation import Generation
from supervisor.live import LiveSettings
from supervisor.observe.logs import Logging, set_up_logging
from supervisor.observe.metrics import Metrics
from supervisor.policy.condition import condition
from supervisor.reload import Reloader
from supervisor.replicas import Replicas
from supervisor.report import daemon_status, generation_status, version_of
from supervisor.settings.schema import MOST_REPLICAS, LauncherChoice, Settings
from supervisor.settings.source import SettingsSource
from supervisor.status import Condition, Status
from supervisor.stopping import StopRequest
from supervisor.systemd import Notifier
from supervisor.watch import FileWatch

T = TypeVar("T")

MakeLauncher = Callable[[LauncherChoice, ev.Events], Launcher]

KILL_TIMEOUT = 5.0
"""Seconds, after a second signal, in which what was killed may end in order."""


def serve(
    settings: Settings,
    environ: Mapping[str, str],
    runtime: Path,
    state: Path,
    lock: InstanceLock,
    begun: HeadStart | None,
    listeners: Sequence[ev.Listener],
    source: SettingsSource | None = None,
) -> int:
    """Runs a daemon until it is told to stop; returns the exit code. `begun` is taken over. Raises LitesupError.

    `source` is what to read the settings from again when they change.
    """
    logging = set_up_logging(settings.logs, environ)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            launcher = functools.partial(make_launcher, begun=begun)
            daemon = Daemon(settings, environ, runtime, state, lock, logging, listeners, launcher, source)
            spare_what_stays()
            return runner.run(daemon.run())
    finally:
        logging.close()


class Daemon:
    """One running litesup. Implements `control.operations.Operations`."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        runtime: Path,
        state: Path,
        lock: InstanceLock,
        logging: Logging,
        listeners: Sequence[ev.Listener],
        make_launcher: MakeLauncher = make_launcher,
        source: SettingsSource | None = None,
    ) -> None:
        self._runtime = runtime
        self._lock = lock
        self._logging = logging
        self._started_at = time.time()
        self._was_ready = False
        self._stop = StopRequest()
        self._begun = asyncio.Event()  # the configuration that was read at start is wanted
        self._reloads: set[asyncio.Task[Any]] = set()
        self._events = ev.Events()
        for listener in (logging.log_event, *listeners):
            self._events.subscribe(listener)
        self._events.subscribe(self._remember, ev.ReplicaEvent)
        self._notifier = Notifier(environ)
        self._live = LiveSettings(settings, source, self._events)
        self._rotation = rules.rotation(settings)
        self._launcher = make_launcher(settings.replicas.launcher, self._events)
        self._stub = WarmUpStub()
        self._balancer = Balancer(rotation=self._rotation, settings=settings, events=self._events, health=self.status)
        self._replicas = Replicas(
            runtime,
            launcher=self._launcher,
            stub=self._stub,
            live=self._live,
            logbook=logging.logbook,
            on_trial=lambda digest: self._pool.course.is_on_trial(digest),  # noqa: PLW0108  the pool is built below
        )
        self._pool = Pool(
            settings.replicas.wanted,
            rotation=self._rotation,
            events=self._events,
            make_replica=self._replicas.make,
            rules=rules.fleet(settings),
            launcher=self._launcher,
        )
        self._recycler = Recycler(self._pool, self._rotation, lambda: rules.recycle(self._live.now))
        self._watch = FileWatch(functools.partial(self._reload_quietly, "file changed"), rules.watch(settings))
        self._watch.watch(self._live.watched, group="settings")
        self._live.only_if(self._balancer.allows)
        self._live.on_change(self._hand_on)
        config = settings.config.absolute()
        self._reloader = Reloader(
            config,
            environ=environ,
            runtime_dir=runtime,
            state_dir=state,
            fleet=self._pool,
            want=self._pool.mailbox.want,
            events=self._events,
            on_generation=logging.hide,
            watch=self._watch.watch,
            redact=logging.redact,
        )
        self._keeper = Keeper(
            History(state, config),
            settle=lambda: self._live.now.rollout.settle,
            in_force=self._reloader.in_force,
            events=self._events,
        )
        self._events.subscribe(self._keeper.on_event, *HEARD_BY_KEEPER)
        self._control = ControlServer(runtime / wire.SOCKET_NAME, self)
        metrics = Metrics(self.status, dropped_lines=logging.dropped, tasks=lambda: len(asyncio.all_tasks()))
        self._events.subscribe(metrics.count)
        self._admin = AdminServer(settings.admin, self.status, metrics)

    async def run(self) -> int:
        """From nothing to nothing: returns the exit code when all is gone."""
        self._listen_to_signals()
        loading: asyncio.Task[None] | None = None
        try:
            check_socket_path(self._replicas.socket_path(10**6))
            last_good = self._live.now.rollout.last_good
            first = await asyncio.to_thread(self._reloader.first, last_good=last_good)
            self._logging.hide(first.generation)
            loading = asyncio.create_task(self._load_early(first.generation), name="load early")
            async with contextlib.AsyncExitStack() as stack:
                await self._open(stack)
                await self._serve(first)
        finally:
            left = [*([] if loading is None else [loading]), *self._reloads]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await self._launcher.close()
        return ExitCode.DONE

    async def _load_early(self, generation: Generation) -> None:
        """Starts loading LiteLLM while the rest is being built. Whoever launches meets the error, if there is one."""
        with contextlib.suppress(Exception):
            await self._launcher.prepare(generation.environment)

    async def _open(self, stack: contextlib.AsyncExitStack) -> None:
        """Opens whatever listens; the stack closes it in reverse. Raises LitesupError."""
        try:
            await self._open_each(stack)
        except OSError as error:
            raise LitesupError(f"cannot start: {error}") from error

    async def _open_each(self, stack: contextlib.AsyncExitStack) -> None:
        for stale in self._runtime.glob("r*.sock"):
            stale.unlink(missing_ok=True)
        await self._stub.start()
        stack.push_async_callback(self._stub.close)
        listening = await self._balancer.start()
        stack.push_async_callback(self._balancer.stop, 0.0)
        await self._control.start()
        stack.push_async_callback(self._control.stop)
        await self._admin.start()
        stack.push_async_callback(self._admin.stop)
        self._lock.announce(listening)
        self._events.publish(ev.DaemonStarted(version_of("litesup"), os.getpid(), listening))

    async def _serve(self, first: First) -> None:
        self._reloader.start(first)
        self._begun.set()
        async with asyncio.TaskGroup() as group:
            pool = group.create_task(self._pool.run(), name="pool")
            watch = group.create_task(self._watch.run(), name="watch")
            keeper = group.create_task(self._keeper.run(), name="history")
            recycler = group.create_task(self._recycler.run(), name="recycler")
            memory = group.create_task(GiveBack().run(), name="memory")
            notify = group.create_task(self._notifier.run(self.status), name="systemd")
            await self._stop.asked.wait()
            settings = self._live.now
            self._notifier.stopping(settings.stop.drain + settings.replicas.stop_timeout)
            self._events.publish(ev.DaemonStopping(self._stop.reason))
            watch.cancel()
            keeper.cancel()
            recycler.cancel()
            memory.cancel()
            await self._stop.unless_in_hurry(self._balancer.stop(settings.stop.drain))
            self._pool.mailbox.stop()
            await self._stop.unless_in_hurry(asyncio.wait([pool]))
            if not pool.done():
                self._pool.kill("the daemon was told twice to stop")
                await asyncio.wait([pool], timeout=KILL_TIMEOUT)
                pool.cancel()  # what is being launched cannot be killed yet
            notify.cancel()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.ask, signal.Signals(number).name)
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon, "SIGHUP")
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    # Small listeners that tie parts together.

    def _remember(self, event: ev.Event) -> None:
        match event:
            case ev.ReplicaReady():
                self._was_ready = True
            case ev.ReplicaExited(replica=replica) | ev.ReplicaLaunchFailed(replica=replica):
                self._stub.forget(replica)
                self._logging.logbook.forget(replica)

    def _reload_soon(self, reason: str) -> None:
        self._soon(self._reload_quietly(reason, again=True), f"reload: {reason}")

    def _soon(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Begins it now; it is cancelled when the daemon ends."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)
        return task

    async def _reload_quietly(self, reason: str, *, again: bool = False) -> None:
        """For nobody in particular: what comes of it is told by events and by the status."""
        with contextlib.suppress(LitesupError):
            await self.reload_because(reason, again=again)

    async def reload_because(self, reason: str, *, wait: bool = False, again: bool = False) -> ReloadOutcome:
        await self._may_change()
        settings = await self._live.reload()
        outcome = await self._reloader.reload(reason=reason, wait=wait, again=again)
        if settings.rolls:
            outcome = await self._renew(outcome, wait=wait)
        return dataclasses.replace(outcome, settings=settings)

    async def _may_change(self) -> None:
        """What is read later must also be wanted later, so this waits for what the start has read."""
        await self._begun.wait()
        if self._stop.asked.is_set():
            raise LitesupError("the daemon stops")

    async def _renew(self, outcome: ReloadOutcome, *, wait: bool) -> ReloadOutcome:
        """Replaces every replica that was started with the settings before."""
        renewal = self._soon(self._pool.mailbox.replace(()), "renew")
        # That it came to nothing because the daemon ends is news only for who waits.
        renewal.add_done_callback(lambda task: None if task.cancelled() else task.exception())
        if wait:
            await asyncio.shield(renewal)
        if outcome.result is not ReloadResult.UNCHANGED:
            return outcome
        return dataclasses.replace(outcome, result=ReloadResult.ROLLED if wait else ReloadResult.STARTED)

    def _hand_on(self, before: Settings, settings: Settings) -> None:
        """Those who read the settings when they need them are not named here. The last word on the count holds."""
        self._rotation.rule(*rules.line(settings))
        self._balancer.rule(settings)
        self._pool.mailbox.rule(rules.fleet(settings))
        self._watch.rule(rules.watch(settings))
        self._logging.rule(settings.logs)
        if settings.replicas.wanted != before.replicas.wanted:
            self._pool.mailbox.scale(settings.replicas.wanted)

    # Operations.

    def status(self) -> Status:
        pool, redact = self._pool, self._logging.redact
        return Status(
            daemon=daemon_status(
                self._condition(),
                pool.course,
                started_at=self._started_at,
                runtime_dir=self._runtime,
                config=self._live.now.config,
                launcher=self._launcher,
                redact=redact,
            ),
            generation=generation_status(pool.course, self._reloader.on_disk, self._keeper.problem, redact),
            wanted_replicas=pool.count,
            ready_replicas=pool.ready,
            replicas=replica_statuses(pool, self._rotation, self._recycler.private_memory, redact),
            balancer=self._balancer.snapshot(),
            settings=self._live.status,
        )

    def _condition(self) -> Condition:
        return condition(
            stopping=self._stop.asked.is_set(),
            ready=self._pool.ready,
            wanted=self._pool.count,
            rolling=self._pool.course.rolling,
            was_ready=self._was_ready,
        )

    async def reload(self, *, wait: bool) -> ReloadOutcome:
        return await self.reload_because("reload", wait=wait, again=True)

    async def rollback(self, digest: str | None, *, wait: bool) -> ReloadOutcome:
        await self._may_change()
        return await self._reloader.rollback(digest, wait=wait)

    async def history(self) -> tuple[HistoryEntry, ...]:
        return await self._reloader.history()

    async def restart(self, slots: tuple[int, ...]) -> tuple[int, ...]:
        return await self._pool.mailbox.replace(slots)

    async def scale(self, count: int) -> None:
        if count < 1:
            raise LitesupError("at least one replica is needed; to end them all: litesup stop")
        if count > MOST_REPLICAS:
            raise LitesupError(f"{count} replicas are more than {MOST_REPLICAS}, the most that one daemon runs")
        self._pool.mailbox.scale(count)

    async def drain(self, slot: int) -> None:
        await self._pool.mailbox.drain(slot)

    async def stop(self) -> None:
        """Asking twice is not being in a hurry: that takes a signal."""
        if not self._stop.asked.is_set():
            self._stop.ask("litesup stop")

    def log_lines(self, slots: tuple[int, ...], *, follow: bool) -> AsyncIterator[LogLine]:
        return self._logging.logbook.lines(slots, follow=follow)
