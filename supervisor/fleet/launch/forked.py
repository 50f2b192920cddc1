"""The forked launcher: a fork server has LiteLLM imported, and a replica is a fork of it.

Owns the fork servers: one for each environment that makes a difference while LiteLLM is imported (`basis`), at most
two, so that the old generation can be started as fast as the new one while that is on trial. Replicas are the daemon's
own children and never notice what happens to the fork server that they came from.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from supervisor import memory
from supervisor.errors import LaunchFailed
from supervisor.events import Events, MemoryTight
from supervisor.fleet.launch.child import Child
from supervisor.fleet.launch.command import shared_environment
from supervisor.fleet.launch.forkserver import ForkServer, ForkServerGone, HeadStart
from supervisor.fleet.launch.orphans import Orphans
from supervisor.fleet.launch.output import Output
from supervisor.fleet.launch.plain import LITELLM
from supervisor.fleet.launch.spec import LaunchSpec, Process
from supervisor.fleet.launch.standby import Standby, close_all
from supervisor.litellm_config.installed import UNKNOWN, version_of

START_TIMEOUT = 90.0
ANSWER_TIMEOUT = 5.0
MOST = 2
PRELOAD = LITELLM.with_name("preload")
ATTEMPTS = 2
"""To fork one replica: the second with a fork server that was loaded for it."""


class ForkedLauncher:
    """Implements `spec.Launcher`. `program` is the file that replicas run; see `replica_main`. Timeouts in seconds."""

    name = "fork"

    def __init__(
        self,
        events: Events,
        program: Path = LITELLM,
        *,
        head_start: HeadStart | None = None,
        start_timeout: float = START_TIMEOUT,
        answer_timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        self._events = events
        self._program = program
        self._head_start = head_start
        self._start_timeout = start_timeout
        self._answer_timeout = answer_timeout
        self._standby: list[Standby] = []  # in the order in which they were last asked for
        self._kept: list[dict[str, str]] = []
        self._orphans = Orphans()

    @property
    def note(self) -> str:
        """Why a replica takes longer than it could, or ""."""
        if self._program != LITELLM or not self._standby:
            return ""
        version = version_of(self._standby[-1].environment)
        if version == UNKNOWN or (PRELOAD / f"{version}.txt").is_file():
            return ""
        return (
            f"it has no list of what LiteLLM {version} imports late, so that a replica takes longer to become ready"
            " (a later litesup may have one)"
        )

    @property
    def fork_server_pid(self) -> int | None:
        """Of the one that was asked for last."""
        return next((one.running.child.pid for one in reversed(self._standby) if one.running is not None), None)

    @property
    def fork_server_pids(self) -> tuple[int, ...]:
        return tuple(one.running.child.pid for one in self._standby if one.running is not None)

    async def prepare(self, environment: Mapping[str, str]) -> None:
        """Loads a fork server for this environment if there is none that serves it. The others stay as they are."""
        await self._server_of(await self._for(environment))

    async def launch(self, spec: LaunchSpec) -> Process:
        """Raises ForkServerUnusable, a LaunchFailed, when plain launching is what remains."""
        for attempt in range(1, ATTEMPTS + 1):
            standby = await self._for(spec.environment)
            server = await self._server_of(standby)
            try:
                process = await self._fork(server, spec)
            except ForkServerGone as gone:
                await standby.give_up(server, gone)
                if attempt == ATTEMPTS:
                    raise
            else:
                standby.forked()
                return process
        raise AssertionError

    async def keep(self, environments: Sequence[Mapping[str, str]]) -> None:
        self._kept = [shared_environment(environment) for environment in environments]
        wanted = {id(one) for kept in self._kept if (one := self._serving(kept)) is not None}
        gone = [one for one in self._standby if id(one) not in wanted]
        self._standby = [one for one in self._standby if id(one) in wanted]
        await close_all(gone)

    async def close(self) -> None:
        gone, self._standby = self._standby, []
        await close_all(gone)
        if self._head_start is not None:
            self._head_start.discard()
            self._head_start = None
        self._orphans.stop()

    async def _for(self, environment: Mapping[str, str]) -> Standby:
        """The one for this environment, less what is one replica's own; room is made for it where there is none."""
        wanted = shared_environment(environment)
        standby = self._serving(wanted)
        if standby is not None:
            self._standby.remove(standby)
            self._standby.append(standby)
            return standby
        self._orphans.start()
        needed = {id(self._serving(kept)) for kept in self._kept}
        gone = []
        while len(self._standby) >= MOST:
            spare = next((one for one in self._standby if id(one) not in needed), self._standby[0])
            self._standby.remove(spare)
            gone.append(spare)
        standby = Standby(wanted, self._start, self._events)
        self._standby.append(standby)
        await close_all(gone)
        return standby

    def _serving(self, shared: Mapping[str, str]) -> Standby | None:
        """The one that was loaded for just this, else one that may serve it too."""
        able = [one for one in self._standby if one.serves(shared)]
        return next((one for one in able if one.environment == shared), able[-1] if able else None)

    async def _server_of(self, standby: Standby) -> ForkServer:
        """Waits until it is loaded. One that could not be loaded even once is forgotten; the others are left alone."""
        try:
            return await standby.server()
        except LaunchFailed:
            if not standby.promising and standby in self._standby:
                self._standby.remove(standby)
            raise

    async def _start(self, environment: Mapping[str, str]) -> ForkServer:
        """What was begun ahead, if it was begun for this."""
        begun, self._head_start = self._head_start, None
        if begun is not None:
            if shared_environment(begun.environment) == environment:
                return await ForkServer.follow(begun, deadline=self._start_timeout)
            begun.discard()
        self._look_at_memory()
        return await ForkServer.start(self._program, environment, deadline=self._start_timeout)

    def _look_at_memory(self) -> None:
        """Says so when a second fork server may be one too many; which of both goes is nobody's to choose here."""
        with contextlib.suppress(psutil.Error, OSError):
            needed = max((psutil.Process(pid).memory_info().rss for pid in self.fork_server_pids), default=0)
            available = memory.available()
            if needed > available:
                self._events.publish(MemoryTight(available_bytes=available, needed_bytes=needed))

    async def _fork(self, server: ForkServer, spec: LaunchSpec) -> Process:
        order = {
            "replica": spec.replica,
            "arguments": spec.arguments,
            "environment": dict(spec.environment),
            "socket": str(spec.socket_path),
            "directory": str(spec.directory),
            "daemon": os.getpid(),
        }
        output = Output()
        with contextlib.ExitStack() as ours:
            try:
                read_end, write_end = os.pipe()
                ours.callback(os.close, write_end)
                await output.attach(read_end)
                gate, key = os.pipe()
                ours.callback(os.close, gate)
                ours.callback(os.close, key)
                pid = await server.fork(order, output=write_end, gate=gate, deadline=self._answer_timeout)
                child = Child(pid, output, spec.socket_path)
                os.write(key, b"1")
            except OSError as error:
                output.close()
                raise LaunchFailed(f"replica {spec.replica} could not be started: {error}") from error
            return child
