"""One process of ours, as the daemon holds it: its exit status, its signals, its output, and the end of its session.

Watched through a pidfd, so that it works on every event loop, for a process that somebody else forked, and so that a
signal can never reach another process of the same number.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from supervisor.fleet.launch import kernel
from supervisor.fleet.launch.output import Output
from supervisor.fleet.launch.spec import ExitStatus

_SESSION_ROUNDS = 50
_SESSION_PAUSE = 0.02  # seconds between two looks at who is left in a session

_owned: set[int] = set()


def is_owned(pid: int) -> bool:
    """Whether somebody waits for this child, so that nobody else may take its exit status."""
    return pid in _owned


class Child:
    """A child of this process that leads its own session. Implements `spec.Process`."""

    def __init__(self, pid: int, output: Output, socket_path: Path | None = None) -> None:
        """Takes `pid` over: from now on only this object reaps it. Must run inside the event loop."""
        self._pid = pid
        self._output = output
        self._socket_path = socket_path
        self._pidfd = os.pidfd_open(pid)
        _owned.add(pid)
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[ExitStatus] = self._loop.create_future()
        self._ending: asyncio.Task[None] | None = None
        self._gone = False
        self._loop.add_reader(self._pidfd, self._exited)

    def __repr__(self) -> str:
        return f"<Child {self._pid}: {self._ended.result() if self._ended.done() else 'running'}>"

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def running(self) -> bool:
        return not self._gone

    def output(self) -> AsyncIterator[str]:
        return self._output.lines()

    def last_lines(self, count: int) -> list[str]:
        return self._output.last(count)

    async def wait(self) -> ExitStatus:
        return await asyncio.shield(self._ended)

    def on_end(self, callback: Callable[[ExitStatus], None]) -> None:
        """Calls back, in the loop, once the process has ended."""
        self._ended.add_done_callback(lambda ended: None if ended.cancelled() else callback(ended.result()))

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if not self._gone:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _exited(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._ending = self._loop.create_task(self._end(), name=f"end-of-{self._pid}")

    async def _end(self) -> None:
        """Ends the session before the leader is reaped: until then its number cannot mean another session."""
        try:
            await self._kill_session()
        finally:
            self._gone = True
            status = self._reap()
            _owned.discard(self._pid)
            os.close(self._pidfd)
            if self._socket_path is not None:
                with contextlib.suppress(OSError):
                    self._socket_path.unlink()  # uvicorn leaves it behind
            self._ended.set_result(status)

    async def _kill_session(self) -> None:
        for _ in range(_SESSION_ROUNDS):
            members = [pid for pid in kernel.session_members(self._pid) if pid != self._pid]
            if not members:
                return
            for pid in members:
                kernel.kill_session_member(pid, self._pid)
            await asyncio.sleep(_SESSION_PAUSE)

    def _reap(self) -> ExitStatus:
        try:
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        except ChildProcessError:
            result = None  # somebody waited for any child at all
        if result is None:
            return ExitStatus(code=None, signal=None)
        if result.si_code == os.CLD_EXITED:
            return ExitStatus(code=result.si_status, signal=None)
        return ExitStatus(code=None, signal=result.si_status)
