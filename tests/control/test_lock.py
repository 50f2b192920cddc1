from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from supervisor.control.lock import LOCK_NAME, Holder, InstanceLock, holder
from supervisor.errors import AlreadyRunning


def test_a_second_daemon_is_told_who_runs_and_where(tmp_path: Path) -> None:
    first = InstanceLock(tmp_path)
    first.acquire()
    first.announce(["http://127.0.0.1:8000"])
    with pytest.raises(AlreadyRunning, match=rf"pid {os.getpid()}\) on http://127.0.0.1:8000"):
        InstanceLock(tmp_path).acquire()
    first.release()


def test_the_lock_ends_with_its_holder_and_its_file_hinders_nobody(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        InstanceLock(tmp_path).acquire()
        os._exit(0)  # as after SIGKILL: nothing is tidied up
    os.waitpid(child, 0)
    assert (tmp_path / LOCK_NAME).exists()
    assert holder(tmp_path) is None
    InstanceLock(tmp_path).acquire()


def test_asking_who_runs_does_not_keep_a_daemon_from_starting(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    lock = InstanceLock(tmp_path)
    lock.acquire()
    assert holder(tmp_path) == Holder(os.getpid(), ())
    lock.release()
    assert holder(tmp_path) is None


def test_a_lock_file_with_nonsense_in_it_still_locks(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path)
    lock.acquire()
    (tmp_path / LOCK_NAME).write_text('{"pid": "many"}')
    with pytest.raises(AlreadyRunning, match="a daemon is running already"):
        InstanceLock(tmp_path).acquire()
    lock.release()


def test_the_lock_is_not_inherited_by_programs_that_the_daemon_starts(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path)
    lock.acquire()
    assert lock._file is not None
    assert not os.get_inheritable(lock._file)
    lock.release()


def test_a_look_at_who_runs_does_not_make_a_daemon_give_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looking = os.open(tmp_path / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr("supervisor.control.lock.time.sleep", lambda _seconds: os.close(looking))
    InstanceLock(tmp_path).acquire()
