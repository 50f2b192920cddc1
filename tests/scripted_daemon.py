"""A real control socket with scripted operations behind it: a daemon, as far as the command line can tell."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from supervisor.control.lock import InstanceLock
from supervisor.control.server import ControlServer
from supervisor.control.wire import SOCKET_NAME
from tests.scripted_operations import ScriptedOperations


class ScriptedDaemon:
    """What a running daemon is to the command line: a lock, a socket, and somebody who answers."""

    def __init__(self, runtime_dir: Path) -> None:
        self.runtime_dir = runtime_dir
        self.operations = ScriptedOperations()
        self.lock = InstanceLock(runtime_dir)
        self._ending = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._server = ControlServer(runtime_dir / SOCKET_NAME, self.operations)

    def start(self) -> None:
        self.lock.acquire()
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(20)

    def end(self) -> None:
        """As a daemon does at its end: the socket first, the lock last."""
        with self._ending:
            if not self._loop.is_closed():
                asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(20)
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join(20)
                self._loop.close()
            self.lock.release()

    def end_after(self, happened: threading.Event) -> None:
        """Ends once the event is set, in a thread of its own."""

        def wait_and_end() -> None:
            happened.wait(20)
            self.end()

        threading.Thread(target=wait_and_end).start()
