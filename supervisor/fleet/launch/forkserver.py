"""The daemon's side of one fork server process: start it, ask it for a replica, notice that it is gone.

Every exchange has a deadline, and one that was not completed ends the fork server: a half-read answer would be taken
for the answer to the next question. What to do then is the launcher's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.errors import LaunchFailed
from supervisor.fleet.launch.basis import Basis
from supervisor.fleet.launch.child import Child
from supervisor.fleet.launch.output import Output

ZYGOTE = Path(__file__).with_name("zygote.py")
_EXCUSE_LINES = 5


class ForkServerUnusable(LaunchFailed):
    """The fork server runs, or could run, but must not fork here: plain launching is what remains."""


class ForkServerGone(LaunchFailed):
    """It ended, or did not answer in time and was killed; another one may do better."""


@dataclass(frozen=True, slots=True)
class HeadStart:
    """A fork server process that was begun before there was an event loop. Whoever holds it waits for it or ends it."""

    environment: Mapping[str, str] = dataclasses.field(repr=False)
    pid: int
    connection: socket.socket
    output: int  # the read end of its pipe
    began: float

    def discard(self) -> None:
        """Ends it. Blocks for a moment."""
        self.connection.close()
        os.close(self.output)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def begin(program: Path, environment: Mapping[str, str]) -> HeadStart:
    """Starts a fork server, which begins to load its program; needs no event loop. Raises LaunchFailed."""
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        try:
            near, far = socket.socketpair()
            ours.callback(near.close)
            theirs.callback(far.close)
            read_end, write_end = os.pipe()
            ours.callback(os.close, read_end)
            theirs.callback(os.close, write_end)
            near.setblocking(False)
            arguments = [str(ZYGOTE), str(program), str(os.getpid()), str(far.fileno())]
            pid = spawn(arguments, environment, write_end, keep=(far.fileno(),))
        except OSError as error:
            raise LaunchFailed(f"the fork server could not be started: {error}") from error
        ours.pop_all()
        return HeadStart(environment, pid, near, read_end, time.monotonic())


class ForkServer:
    """One fork server process. Made by `start` or `follow`; never restarted."""

    def __init__(self, child: Child, connection: socket.socket) -> None:
        self._child = child
        self._connection = connection
        self._busy = asyncio.Lock()
        self.seconds = 0.0  # that its start took
        self.basis = Basis({})  # what it was loaded with, once it is

    @classmethod
    async def start(cls, program: Path, environment: Mapping[str, str], *, deadline: float) -> ForkServer:
        """Starts one, and returns when it can fork. Raises LaunchFailed; then nothing runs."""
        return await cls.follow(begin(program, environment), deadline=deadline)

    @classmethod
    async def follow(cls, begun: HeadStart, *, deadline: float) -> ForkServer:
        """Takes over what was begun, and returns when it can fork. Raises LaunchFailed; then nothing runs."""
        output = Output()
        try:
            await output.attach(os.dup(begun.output))
            child = Child(begun.pid, output)
        except BaseException as error:  # also when it is cancelled here: nobody else would end it
            begun.discard()
            output.close()
            if isinstance(error, OSError):
                raise LaunchFailed(f"the fork server could not be watched: {error}") from error
            raise
        os.close(begun.output)
        server = cls(child, begun.connection)
        try:
            async with asyncio.timeout(deadline):
                answer = await server._receive()
        except BaseException as error:
            await server.close()
            if isinstance(error, TimeoutError):
                raise ForkServerUnusable(f"the fork server was not ready within {deadline:g} s") from error
            if isinstance(error, OSError | ValueError):
                raise ForkServerUnusable(f"the fork server ended while it started{server._last_words()}") from error
            raise
        if "unusable" in answer:
            await server.close()
            raise ForkServerUnusable(str(answer["unusable"]))
        server.seconds = time.monotonic() - begun.began
        server.basis = Basis.told(begun.environment, answer.get("readings"))
        return server

    @property
    def child(self) -> Child:
        return self._child

    async def fork(self, order: Mapping[str, Any], *, output: int, gate: int, deadline: float) -> int:
        """The number of a new process that waits at the gate. Raises LaunchFailed."""
        answer = await self._ask(order, (output, gate), deadline)
        if "unusable" in answer:
            raise ForkServerUnusable(str(answer["unusable"]))
        if "pid" not in answer:
            raise LaunchFailed(f"the fork server could not fork: {answer.get('failed')}")
        return int(answer["pid"])

    async def ping(self, *, deadline: float) -> None:
        """Returns if it answers. Raises ForkServerGone."""
        await self._ask({"ping": True}, (), deadline)

    async def close(self) -> None:
        """Ends it, whatever it is doing."""
        self._child.kill()
        self._connection.close()
        await self._child.wait()

    async def _ask(self, message: Mapping[str, Any], descriptors: tuple[int, ...], deadline: float) -> dict[str, Any]:
        async with self._busy:  # not part of the deadline: a long queue is no reason to kill who serves it
            completed = False
            try:
                async with asyncio.timeout(deadline):
                    await self._send(message, descriptors)
                    answer = await self._receive()
                completed = True
            except TimeoutError as error:
                raise ForkServerGone(f"the fork server did not answer within {deadline:g} s") from error
            except (OSError, ValueError) as error:
                raise ForkServerGone(f"the fork server is gone{self._last_words()}") from error
            finally:
                if not completed:
                    self._child.kill()
        return answer

    async def _send(self, message: Mapping[str, Any], descriptors: tuple[int, ...]) -> None:
        body = json.dumps(message).encode()
        frame = len(body).to_bytes(4, "big") + body
        # The socket is empty between two exchanges, so that the kernel takes at least one byte, and with it the
        # descriptors.
        sent = socket.send_fds(self._connection, [frame], descriptors) if descriptors else 0
        await asyncio.get_running_loop().sock_sendall(self._connection, frame[sent:])

    async def _receive(self) -> dict[str, Any]:
        size = int.from_bytes(await self._exactly(4), "big")
        answer: dict[str, Any] = json.loads(await self._exactly(size))
        return answer

    async def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = await asyncio.get_running_loop().sock_recv(self._connection, size - len(data))
            if not piece:
                raise ConnectionResetError("the fork server closed its socket")
            data += piece
        return data

    def _last_words(self) -> str:
        lines = self._child.last_lines(_EXCUSE_LINES)
        return f": {' | '.join(lines)}" if lines else ""


def spawn(arguments: list[str], environment: Mapping[str, str], output: int, keep: tuple[int, ...] = ()) -> int:
    """Starts this Python on a file, leader of its own session; returns its number. Raises OSError.

    `-P` keeps the file's and the working directory out of `sys.path`. `subprocess` is told that the process has ended,
    so that it never takes a status which is `Child`'s.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", *arguments],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=keep,
        start_new_session=True,
    )
    process.returncode = 0
    return process.pid
