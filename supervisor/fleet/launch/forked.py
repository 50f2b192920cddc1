"""The forked launcher: one fork server has LiteLLM imported, and a replica is a fork of it.

Owns the fork server: starts it for one environment, replaces it when it is killed, does not answer in time, or when
another environment is wanted. Replicas are the daemon's own children and never notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from supervisor.errors import LaunchFailed
from supervisor.events import Events, ForkServerLost, ForkServerStarted
from supervisor.fleet.launch.child import Child
from supervisor.fleet.launch.command import shared_environment
from supervisor.fleet.launch.forkserver import ForkServer, ForkServerGone, HeadStart
from supervisor.fleet.launch.orphans import Orphans
from supervisor.fleet.launch.output import Output
from supervisor.fleet.launch.plain import LITELLM
from supervisor.fleet.launch.spec import ExitStatus, LaunchSpec, Process

START_TIMEOUT = 90.0
ANSWER_TIMEOUT = 5.0


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
        self._environment: dict[str, str] | None = None
        self._server: ForkServer | None = None
        self._changing = asyncio.Lock()
        self._orphans = Orphans()
        self._replacing: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def fork_server_pid(self) -> int | None:
        return self._server.child.pid if self._server is not None and self._server.child.running else None

    async def prepare(self, environment: Mapping[str, str]) -> None:
        async with self._changing:
            await self._server_for(environment)

    async def launch(self, spec: LaunchSpec) -> Process:
        """Raises ForkServerUnusable, a LaunchFailed, when plain launching is what remains."""
        async with self._changing:
            try:
                return await self._fork(await self._server_for(spec.environment), spec)
            except ForkServerGone as gone:
                await self._give_up(gone)
                return await self._fork(await self._server_for(spec.environment), spec)

    async def close(self) -> None:
        self._closed = True
        if self._replacing is not None:
            self._replacing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._replacing
        async with self._changing:
            server, self._server = self._server, None
            if server is not None:
                await server.close()
            if self._head_start is not None:
                self._head_start.discard()
                self._head_start = None
        self._orphans.stop()

    async def _server_for(self, environment: Mapping[str, str]) -> ForkServer:
        """For this environment, less what is one replica's own: LiteLLM reads variables while it is imported."""
        wanted = shared_environment(environment)
        if wanted != self._environment or self._server is None or not self._server.child.running:
            await self._replace(wanted)
        if self._server is None:
            raise LaunchFailed("the fork server ended as soon as it was ready")
        return self._server

    async def _give_up(self, reason: ForkServerGone) -> None:
        server, self._server = self._server, None
        if server is not None:
            self._events.publish(ForkServerLost(reason=str(reason)))
            await server.close()

    async def _replace(self, environment: dict[str, str]) -> None:
        """Starts a new fork server, and only then ends the old one: a failed start changes nothing."""
        self._orphans.start()
        server = await self._start(environment)
        old, self._server, self._environment = self._server, server, environment
        server.child.on_end(lambda status: self._lost(server, status))
        self._events.publish(ForkServerStarted(pid=server.child.pid, seconds=server.seconds))
        if old is not None:
            await old.close()

    async def _start(self, environment: dict[str, str]) -> ForkServer:
        """What was begun ahead, if it was begun for this."""
        begun, self._head_start = self._head_start, None
        if begun is not None:
            if shared_environment(begun.environment) == environment:
                return await ForkServer.follow(begun, deadline=self._start_timeout)
            begun.discard()
        return await ForkServer.start(self._program, environment, deadline=self._start_timeout)

    def _lost(self, server: ForkServer, status: ExitStatus) -> None:
        if self._server is not server or self._closed:
            return
        self._server = None
        self._events.publish(ForkServerLost(reason=f"{status}"))
        self._replacing = asyncio.get_running_loop().create_task(self._restart(), name="fork-server-restart")

    async def _restart(self) -> None:
        """Once, ahead of need; if that fails, the next launch tries again and tells."""
        async with self._changing:
            if self._environment is not None:
                with contextlib.suppress(LaunchFailed, OSError):
                    await self._server_for(self._environment)

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
