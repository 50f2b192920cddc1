"""What Linux offers about processes and Python's standard library does not.

Used by the daemon and, loaded by path, by the programs that run inside a replica, so it imports the standard library
only. Nothing in here decides anything.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, argument: int | bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    value = ctypes.c_char_p(argument) if isinstance(argument, bytes) else ctypes.c_ulong(argument)
    if libc.prctl(ctypes.c_int(option), value, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}): {os.strerror(error)}")


def become_subreaper() -> None:
    """Makes orphaned descendants children of this process, instead of children of process 1."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> bool:
    """Has the kernel kill this process when `parent` ends; False when `parent` is not the parent (any more).

    The signal is asked for first and the parent looked at afterwards: a parent that ended in between would never
    be noticed the other way round. Not inherited by children.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


def name_process(name: str) -> None:
    """Sets the name that `top` and `/proc/*/comm` show; the kernel keeps 15 bytes."""
    _prctl(_PR_SET_NAME, name.encode()[:15] + b"\0")


def volunteer_for_oom(extra: int) -> None:
    """When memory runs out, this process is chosen before one that did not volunteer; `extra` is of a thousand."""
    file = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError, ValueError):  # some containers forbid it
        file.write_text(str(min(1000, int(file.read_text()) + extra)))


def thread_names() -> list[str]:
    """The names of this process's kernel threads, the main thread first.

    Python knows only the threads that it started; a library's own (a BLAS pool, a Rust runtime) have at best the name
    that the kernel shows.
    """
    python = {thread.native_id: thread.name for thread in threading.enumerate()}
    names = []
    for task in sorted(_numbers("/proc/self/task")):
        try:
            comm = Path(f"/proc/self/task/{task}/comm").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue  # it ended between the two looks
        names.append(f"{comm} ({python[task]})" if task in python else comm)
    return names


def _stat(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` from the third (the state) on; see proc(5). Empty without such a process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return []
    return text.rpartition(b")")[2].decode("ascii", "replace").split()


def is_zombie(pid: int) -> bool:
    return _stat(pid)[:1] == ["Z"]


def session_members(session: int) -> list[int]:
    """The living processes of that session, its leader included."""
    members = []
    for pid in _numbers("/proc"):
        fields = _stat(pid)
        if len(fields) > 3 and fields[3] == str(session) and fields[0] not in "ZX":
            members.append(pid)
    return members


def children() -> list[int]:
    """This process's children, zombies included."""
    found: list[int] = []
    try:
        for task in _numbers("/proc/self/task"):
            found += map(int, Path(f"/proc/self/task/{task}/children").read_text(encoding="ascii").split())
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN, or a thread that just ended
        own = str(os.getpid())
        found = [pid for pid in _numbers("/proc") if _stat(pid)[1:2] == [own]]
    return found


def open_descriptors() -> list[int]:
    """This process's descriptors; the one that the looking itself needs is gone, or names nothing, by then."""
    return _numbers("/proc/self/fd")


def _numbers(directory: str) -> list[int]:
    return [int(entry.name) for entry in Path(directory).iterdir() if entry.name.isdigit()]


def kill_session_member(pid: int, session: int) -> None:
    """SIGKILL for `pid` if it is still a member of that session; never for another process of that number."""
    with contextlib.suppress(OSError):
        pidfd = os.pidfd_open(pid)
        try:
            if os.getsid(pid) == session:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)
