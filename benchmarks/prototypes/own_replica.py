"""The product's connection to a replica, telling by a call that something has come, and a pool of such.

Everything that the connection decides stays as it is: what is not sent, how long silence may last, what is an answer.
Only who is told differs: a callback in the same turn of the loop instead of a task, a turn later, through a future.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from supervisor.balancer.response_head import ResponseHead
from supervisor.balancer.upstream import Connection
from supervisor.errors import NotSent, UpstreamError
from supervisor.rotation import Upstream


class Line(Connection):
    """`on_news` is called whenever `answer`, `failure`, `complete` or what `arrived` gives may have changed."""

    on_news: Callable[[], None] | None = None

    @property
    def answer(self) -> ResponseHead | None:
        return self._response.head

    @property
    def failure(self) -> UpstreamError | None:
        return self._failure

    def _wake(self, *, taken: bool = True) -> None:
        if self.on_news is not None:
            self.on_news()


class Lines:
    """Connections between two requests, by replica, and new ones. Idle ones are kept until the replica ends them."""

    def __init__(self) -> None:
        self._idle: dict[int, list[Line]] = {}

    def reuse(self, upstream: Upstream) -> Line | None:
        lines = self._idle.get(upstream.replica)
        while lines:
            line = lines.pop()
            if not line.closed:
                return line
        return None

    def give_back(self, upstream: Upstream, line: Line) -> None:
        line.on_news = None
        if line.finish():
            self._idle.setdefault(upstream.replica, []).append(line)

    async def connect(self, upstream: Upstream) -> Line:
        """Raises NotSent."""
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(str(upstream.socket_path))
            _, line = await loop.create_unix_connection(lambda: Line(loop, sock, lambda _: None), sock=sock)
        except OSError as error:
            sock.close()
            raise NotSent(f"could not connect: {error.strerror}") from None
        return line
