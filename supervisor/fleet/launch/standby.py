"""One fork server that is kept ready for one environment: loaded once, loaded anew when it is lost.

Loading belongs to nobody who waits for it: one who is cancelled takes it from no other. What it forked never notices
what happens to it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

from supervisor.errors import LaunchFailed
from supervisor.events import Events, ForkServerLost, ForkServerStarted
from supervisor.fleet.launch.basis import Basis
from supervisor.fleet.launch.forkserver import ForkServer, ForkServerGone
from supervisor.fleet.launch.spec import ExitStatus

Start = Callable[[Mapping[str, str]], Awaitable[ForkServer]]

LOSSES = 3
"""In a row, without a replica forked in between, after which another is loaded on demand only."""


class Standby:
    """`environment` is `command.shared_environment`'s. Made without loading anything."""

    def __init__(self, environment: Mapping[str, str], start: Start, events: Events) -> None:
        self.environment = environment
        self._start = start
        self._events = events
        self._server: ForkServer | None = None
        self._basis: Basis | None = None
        self._loading: asyncio.Task[ForkServer] | None = None
        self._losses = 0
        self._closed = False

    @property
    def running(self) -> ForkServer | None:
        """The fork server, while there is one that is loaded."""
        return self._server if self._server is not None and self._server.child.running else None

    @property
    def promising(self) -> bool:
        """Whether it was loaded once, or is being loaded."""
        return self._basis is not None or (self._loading is not None and not self._loading.done())

    def serves(self, environment: Mapping[str, str]) -> bool:
        """Whether a replica with this environment may be forked from here."""
        if self._basis is None:
            return self.environment == environment
        return not self._basis.in_the_way(environment)

    async def server(self) -> ForkServer:
        """Waits until it is loaded. Raises LaunchFailed."""
        if (running := self.running) is not None:
            return running
        if self._closed:
            raise LaunchFailed("the fork server of this environment was ended")
        if self._loading is None or self._loading.done():
            self._load()
        loading = self._loading
        assert loading is not None
        await asyncio.wait([loading])
        if loading.cancelled():
            raise LaunchFailed("the fork server was ended while it was loaded")
        return loading.result()

    def forked(self) -> None:
        """It did what it is for."""
        self._losses = 0

    async def give_up(self, server: ForkServer, reason: ForkServerGone) -> None:
        """This one is of no use any more; ends it."""
        if self._server is server:
            self._server = None
            self._events.publish(ForkServerLost(reason=str(reason)))
        await server.close()

    async def close(self) -> None:
        """Ends it, and what it is loading; both end also when this is cancelled."""
        self._closed = True
        loading, (server, self._server) = self._loading, (self._server, None)
        if loading is not None:
            loading.cancel()
        if server is not None:
            server.child.kill()
            await server.close()
        if loading is not None:
            await asyncio.wait([loading])

    def _load(self) -> None:
        self._loading = asyncio.get_running_loop().create_task(self._loaded(), name="fork-server")
        # Where nobody waits, the next who does tries again and tells.
        self._loading.add_done_callback(lambda task: None if task.cancelled() else task.exception())

    async def _loaded(self) -> ForkServer:
        server = await self._start(self.environment)
        self._server, self._basis = server, server.basis
        server.child.on_end(lambda status: self._lost(server, status))
        self._events.publish(ForkServerStarted(pid=server.child.pid, seconds=server.seconds))
        return server

    def _lost(self, server: ForkServer, status: ExitStatus) -> None:
        """Loads another ahead of need."""
        if self._server is not server or self._closed:
            return
        self._server = None
        self._losses += 1
        self._events.publish(ForkServerLost(reason=f"{status}"))
        if self._losses < LOSSES:
            self._load()


async def close_all(standby: list[Standby]) -> None:
    """Ends these, and lets none be forgotten because another made trouble."""
    with contextlib.suppress(OSError):
        await asyncio.gather(*(one.close() for one in standby))
