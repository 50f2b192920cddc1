"""The ceiling of Python's own sockets: what `relay` does, without an event loop: epoll, recv and send by hand.

    python -m benchmarks.prototypes.by_hand PORT SOCKET...

Says how much of a hop is the event loop, and how much is Python and the kernel. A short write is not completed.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import select
import signal
import socket
import sys
from collections.abc import Callable

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: ([0-9]+)\r\n")
_ENOUGH = 256 * 1024


class Relay:
    """Every descriptor and what is to be done when it can be read."""

    def __init__(self, port: int, sockets: list[str]) -> None:
        self._turns = itertools.cycle(sockets)
        self._epoll = select.epoll()
        self._idle: list[tuple[socket.socket, list[socket.socket]]] = []
        self._readable: dict[int, Callable[[], None]] = {}
        self._listener = socket.create_server(("127.0.0.1", port), backlog=2048)
        self._watch(self._listener, self._accept)

    def run(self) -> None:
        poll, readable = self._epoll.poll, self._readable
        while True:
            for descriptor, _ in poll():
                if descriptor in readable:
                    readable[descriptor]()

    def _watch(self, sock: socket.socket, act: Callable[[], None]) -> None:
        sock.setblocking(False)
        self._readable[sock.fileno()] = act
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _close(self, sock: socket.socket) -> None:
        self._readable.pop(sock.fileno(), None)
        sock.close()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def ask() -> None:
            data = _received(client)
            if not data:
                self._close(client)
                return
            replica, serving = self._idle.pop() if self._idle else self._connect()
            serving.append(client)
            replica.send(data)

        self._watch(client, ask)

    def _connect(self) -> tuple[socket.socket, list[socket.socket]]:
        replica = socket.socket(socket.AF_UNIX)
        replica.connect(next(self._turns))
        serving: list[socket.socket] = []  # nobody, or one
        pair = (replica, serving)
        left = 0

        def answer() -> None:
            nonlocal left
            data = _received(replica)
            if not data:
                self._close(replica)
                return
            client = serving[0]
            if not left:
                found = _LENGTH.search(data)
                left = data.index(b"\r\n\r\n") + 4 + (int(found[1]) if found else 0)
            left -= len(data)
            if not left:
                serving.clear()
                self._idle.append(pair)
            with contextlib.suppress(OSError):
                client.send(data)  # it may have gone

        self._watch(replica, answer)
        return pair


def _received(sock: socket.socket) -> bytes:
    """Empty at the end, however that came."""
    try:
        return sock.recv(_ENOUGH)
    except ConnectionError:
        return b""


def main() -> None:
    port, *sockets = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Relay(int(port), sockets).run()


if __name__ == "__main__":
    main()
