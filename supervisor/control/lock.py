"""One daemon per runtime directory.

The lock is the kernel's (`flock`): it goes with the process, however that ends, and a stale file hinders nobody. The
file's text, who holds it and where that one listens, is for people; only the lock itself decides anything.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from supervisor.errors import AlreadyRunning

LOCK_NAME = "daemon.lock"
LOOKS = 3
PAUSE = 0.02  # seconds between two looks


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock. `pid` is None, and `listening` empty, for the moment before the holder has said so."""

    pid: int | None
    listening: tuple[str, ...]


class InstanceLock:
    """The daemon's claim on its runtime directory, from `acquire` to `release` or the end of the process."""

    def __init__(self, runtime_dir: Path) -> None:
        self._path = runtime_dir / LOCK_NAME
        self._file: int | None = None

    def acquire(self) -> None:
        """Raises AlreadyRunning, which says who runs and where, when another daemon has this directory."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if not _locked(file):
            holder = _read(file)
            os.close(file)
            who = f" (pid {holder.pid})" if holder.pid else ""
            where = f" on {', '.join(holder.listening)}" if holder.listening else ""
            raise AlreadyRunning(
                f"a daemon is running already{who}{where}. See it with: litesup status; end it with: litesup stop; "
                "run a second one beside it with --runtime-dir and --port."
            )
        self._file = file
        self.announce(())

    def announce(self, listening: Sequence[str]) -> None:
        """Notes where this daemon listens, for the message that a second start gets."""
        if self._file is not None:
            text = json.dumps({"pid": os.getpid(), "listening": list(listening)}).encode()
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text, 0)

    def release(self) -> None:
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None


def holder(runtime_dir: Path) -> Holder | None:
    """Who runs in this directory, None if nobody does."""
    try:
        file = os.open(runtime_dir / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read(file)
    else:
        return None
    finally:
        os.close(file)


def _locked(file: int) -> bool:
    """Takes the lock, if nobody has it. `holder` looks by taking it for a moment, which is not having it."""
    for _ in range(LOOKS):
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(PAUSE)
    return False


def _read(file: int) -> Holder:
    try:
        noted = json.loads(os.pread(file, 4096, 0))
        return Holder(int(noted["pid"]), tuple(str(address) for address in noted["listening"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Holder(None, ())
