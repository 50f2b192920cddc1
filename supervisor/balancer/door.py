"""Where clients come in: whoever waits at a listening socket is let in, many in one turn of the loop.

libuv lets in one in each turn, and each turn serves all who are in already. So when 512 clients came at once and went
on asking, the last of them stood outside for more than five seconds. Owns the listening socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from supervisor.balancer.listen import BACKLOG

AT_ONCE = 64
"""Connections let in in one turn, which no other connection is served in meanwhile."""

PAUSE = 0.1
"""Seconds of waiting for a file descriptor, or for memory, where none was left."""


ENTERING = 1.0
"""Seconds that those have who were let in when the door closes; it takes a turn of the loop or two."""


class Door:
    """Open from the beginning, until `close`. `protocol` makes one for each connection."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        self.socket = sock
        self._loop = loop
        self._protocol = protocol
        self._entering: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        # For who comes in, too: one whose machine is gone is missed.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.listen(BACKLOG)
        self._open()

    async def close(self) -> None:
        """Nobody is let in any more; who is in stays, and who stood in the door is in. Closing twice does nothing."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self.socket.fileno() >= 0:
            self._loop.remove_reader(self.socket)
            self.socket.close()
        if self._entering:
            await asyncio.wait(self._entering, timeout=ENTERING)

    def _open(self) -> None:
        self._pause = None
        self._loop.add_reader(self.socket, self._let_in)

    def _let_in(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connected, _ = self.socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue  # it has left again
            except OSError:
                self._loop.remove_reader(self.socket)
                self._pause = self._loop.call_later(PAUSE, self._open)
                return
            task = self._loop.create_task(self._enter(connected))
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)

    async def _enter(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        with contextlib.suppress(OSError):  # it has left again
            await self._loop.connect_accepted_socket(self._protocol, connected)
            return
        connected.close()
