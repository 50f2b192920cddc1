"""The fork server: imports the program once, then forks a replica whenever the daemon asks for one.

Executed by path, never imported by the daemon. It has one thread and no event loop, because a child has only the
thread that forked and every lock as it was then: both are looked at after the imports and before every fork.

Protocol, over one stream socket: a frame is four bytes of length, big-endian, and that much JSON. The fork server
begins with `{"ready": true, "readings": …}` or `{"unusable": reason}`. Then requests are answered one by one:
`{"ping": …}` by `{"pong": true}`; an order, which comes with two descriptors (the write end of the output pipe, the
read end of the gate), by `{"pid": N}`, `{"unusable": reason}` or `{"failed": reason}`.

The replica waits at its gate until the daemon, which by then is its parent and knows its number, lets it through.
If the daemon gave it up meanwhile, or died, the gate closes, and it leaves without having done anything.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # `python -P` leaves it out, for the program's sake
replica_main = importlib.import_module("replica_main")
readings = importlib.import_module("readings")
together = importlib.import_module("together")
del sys.path[0]
kernel = replica_main.kernel
large_blocks = replica_main.load_file(Path(__file__).resolve().parents[2] / "large_blocks.py", "litesup_large_blocks")

_INHERITED = dict(os.environ)
_THREAD_PATIENCE = 0.5  # seconds


class Channel:
    """The daemon's socket, blocking."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next frame and the descriptors that came with it; None when the daemon has closed."""
        header, descriptors, _, _ = socket.recv_fds(self._connection, 4, 2, socket.MSG_CMSG_CLOEXEC)
        while 0 < len(header) < 4:
            header += self._connection.recv(4 - len(header))
        if not header:
            return None
        wanted = int.from_bytes(header, "big")
        body = bytearray()
        while len(body) < wanted:
            piece = self._connection.recv(wanted - len(body))
            if not piece:
                return None
            body += piece
        return json.loads(body), descriptors

    def send(self, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        self._connection.sendall(len(body).to_bytes(4, "big") + body)

    def close(self) -> None:
        self._connection.close()


def threads_in_the_way() -> str | None:
    """Why this process must not fork, or None. A thread that was joined may live on in the kernel for a moment."""
    deadline = time.monotonic() + _THREAD_PATIENCE
    while len(names := kernel.thread_names()) > 1:
        if time.monotonic() > deadline:
            return f"{len(names)} threads run in the fork server, one is allowed: {', '.join(names[1:])}"
        time.sleep(0.01)
    return None


def fork_replica(channel: Channel, order: dict[str, Any], output: int, gate: int) -> int | None:
    """Forks twice, so that the replica becomes the child of the daemon; None in the replica itself."""
    sys.stdout.flush()
    sys.stderr.flush()
    told, telling = os.pipe()
    between = os.fork()
    if between:
        os.close(telling)
        answer = os.read(told, 16)
        os.close(told)
        os.waitpid(between, 0)
        if not answer:
            raise OSError("the second fork failed")
        return int(answer)
    pid = 0
    try:
        pid = os.fork()
        if pid:
            os.write(telling, str(pid).encode())
    finally:
        if pid or sys.exc_info()[0] is not None:
            os._exit(0)
    os.close(told)
    os.close(telling)
    channel.close()
    os.setsid()
    if os.read(gate, 1) != b"1":
        os._exit(0)
    os.close(gate)
    replica_main.tie_to_daemon(order["daemon"])
    _own_descriptors(output)
    _own_environment(order["environment"])
    return None


def _own_environment(environment: dict[str, str]) -> None:
    """The order's, with what importing the program changed: a plain replica would end up with the same.

    LiteLLM points the tokenizer at the files that it brings along, for one.
    """
    changed = {name: value for name, value in os.environ.items() if _INHERITED.get(name) != value}
    removed = _INHERITED.keys() - os.environ.keys()
    os.environ.clear()
    os.environ.update({name: value for name, value in environment.items() if name not in removed} | changed)
    time.tzset()


def _own_descriptors(output: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(null)
    os.close(output)
    os.closerange(3, max(kernel.open_descriptors()) + 1)


def serve(channel: Channel) -> dict[str, Any] | None:
    """Answers the daemon until it closes (None); returns the order in a replica that was forked meanwhile."""
    while (received := channel.receive()) is not None:
        message, descriptors = received
        if "ping" in message:
            channel.send({"pong": True})
            continue
        reason = threads_in_the_way()
        if reason is not None:
            channel.send({"unusable": reason})
        else:
            try:
                pid = fork_replica(channel, message, *descriptors)
            except OSError as error:
                channel.send({"failed": str(error)})
            else:
                if pid is None:
                    return message
                channel.send({"pid": pid})
        for descriptor in descriptors:
            os.close(descriptor)
    return None


def _nothing() -> None:
    """For a program that has nothing to rehearse."""


def _rehearse(once: Callable[[], None]) -> None:
    """First what is built only once gets built, then it is seen what runs each time, and the last time runs it in."""
    once()
    with together.executed() as codes:
        once()
    together.move(codes)
    once()


def main() -> None:
    program_path, daemon, descriptor = sys.argv[1:]
    replica_main.tie_to_daemon(int(daemon))
    kernel.name_process("litesup-fork")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    large_blocks.give_back_large_blocks()
    gc.disable()  # a third of the import's time, and frozen right after it anyway
    channel = Channel(socket.socket(fileno=int(descriptor)))
    try:
        with readings.recorded() as read:
            program = replica_main.load_file(Path(program_path), "litesup_program")
            program.load()
            _rehearse(getattr(program, "rehearse", _nothing))
        reason = threads_in_the_way()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    gc.freeze()
    channel.send({"ready": True, "readings": read.told()} if reason is None else {"unusable": reason})
    order = serve(channel)
    if order is None:
        os._exit(0)  # not through the interpreter: LiteLLM's exit hooks are the replicas' business
    replica_main.settle(order)
    program.serve(order["arguments"], order["socket"])


if __name__ == "__main__":
    main()
