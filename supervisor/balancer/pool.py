"""Connections to replicas between two requests, and new ones.

Owns the idle connections, by replica. One that is no longer sure to be good is closed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

from supervisor.balancer.upstream import Connection
from supervisor.errors import NotSent
from supervisor.rotation import Upstream

_CONNECT_PAUSE = 0.005  # between tries while the replica's backlog is full


class Pool:
    """Gives connections to exchanges and takes them back."""

    def __init__(self, *, connect_timeout: float, idle_timeout: float) -> None:
        """Both in seconds; `idle_timeout` must stay below the replicas' own keep-alive."""
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self._idle: dict[int, list[tuple[float, Connection]]] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def rule(self, *, connect_timeout: float, idle_timeout: float) -> None:
        """From now on; a connection that is idle already keeps the time that it was given."""
        self._connect_timeout, self._idle_timeout = connect_timeout, idle_timeout

    def __repr__(self) -> str:
        return f"<Pool: {self.idle} idle connections>"

    @property
    def idle(self) -> int:
        return sum(len(connections) for connections in self._idle.values())

    def reuse(self, upstream: Upstream) -> Connection | None:
        """The idle connection last used, if there is one."""
        connections = self._idle.get(upstream.replica)
        while connections:
            _, connection = connections.pop()
            if not connection.closed:
                return connection
        return None

    async def connect(self, upstream: Upstream) -> Connection:
        """A new connection. Raises NotSent."""
        loop = asyncio.get_running_loop()
        sock = await self._connected(loop, upstream.socket_path)
        try:
            _, connection = await loop.create_unix_connection(
                lambda: Connection(loop, sock, lambda ended: self._forget(upstream.replica, ended)), sock=sock
            )
        except OSError as error:
            sock.close()
            raise _could_not(error) from None
        except BaseException:
            sock.close()
            raise
        return connection

    def give_back(self, upstream: Upstream, connection: Connection) -> None:
        """Ends the connection's exchange, and keeps it if it can serve another."""
        if not connection.finish():
            return
        if upstream.leaving:
            connection.abort()
            return
        connections = self._idle.get(upstream.replica)
        if connections is None:
            connections = self._idle[upstream.replica] = []
        connections.append((connection.active_at + self._idle_timeout, connection))
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(self._idle_timeout, self._sweep)

    def drop(self, upstream: Upstream) -> None:
        """Closes every idle connection to a replica that has left."""
        for _, connection in self._idle.pop(upstream.replica, ()):
            connection.abort()

    def close(self) -> None:
        for connections in self._idle.values():
            for _, connection in connections:
                connection.abort()
        self._idle.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeper = None
        now = loop.time()
        for replica, connections in list(self._idle.items()):
            # The list is in the order of use, so the oldest are in front.
            old = 0
            while old < len(connections) and connections[old][0] <= now:
                connections[old][1].abort()
                old += 1
            del connections[:old]
            if not connections:
                del self._idle[replica]
        if self._idle:
            soonest = min(connections[0][0] for connections in self._idle.values())
            self._sweeper = loop.call_later(max(0.01, soonest - now), self._sweep)

    def _forget(self, replica: int, ended: Connection) -> None:
        connections = self._idle.get(replica)
        if connections:
            connections[:] = [pair for pair in connections if pair[1] is not ended]

    async def _connected(self, loop: asyncio.AbstractEventLoop, path: Path) -> socket.socket:
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:  # no descriptor is left
            raise _could_not(error) from None
        deadline = loop.time() + self._connect_timeout
        try:
            while True:
                with contextlib.suppress(BlockingIOError):  # the backlog is full; a unix socket does not wait for it
                    sock.connect(str(path))
                    return sock
                if loop.time() >= deadline:
                    raise NotSent(f"could not connect within {self._connect_timeout:g} s")
                await asyncio.sleep(_CONNECT_PAUSE)
        except OSError as error:
            sock.close()
            raise _could_not(error) from None
        except BaseException:
            sock.close()
            raise


def _could_not(error: OSError) -> NotSent:
    return NotSent(f"could not connect: {error.strerror or type(error).__name__}")
