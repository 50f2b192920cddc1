"""The shell around the sealed process: started, drained, waited for, and gone with all that is its own at the end.

Synchronous, for a command that has nothing else to do. Secrets reach the process through its environment and the
rendered file (0400, in a directory 0700 that is removed); its arguments are two numbers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from supervisor.deep_check.plan import Plan
from supervisor.fleet.launch import kernel
from supervisor.litellm_config.generation import Generation
from supervisor.litellm_config.write import write_rendered

PROGRAM = Path(__file__).with_name("program.py")
_TICK = 0.2  # seconds between two words of progress
_LEAVING = 5.0  # seconds that it gets to say why it refused, which LiteLLM does on its way out
_LAST_LINES = 40
_LONGEST_LINE = 2000  # characters
_LAST_WORDS = frozenset({"absent", "done", "refused"})
_READ = 64 * 1024  # bytes

Event = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """What the sealed process told, and how it ended."""

    events: tuple[Event, ...] = dataclasses.field(repr=False)  # not redacted
    seconds: float
    timed_out: bool
    status: int | None  # its exit status, negative for a signal; None where it was ended
    last_lines: tuple[str, ...] = dataclasses.field(repr=False)  # of its output, not redacted


def run(
    generation: Generation,
    plan: Plan,
    *,
    timeout: float,
    progress: Callable[[tuple[Event, ...], float], None],
    program: Path = PROGRAM,
) -> Run:
    """Has the plan carried out. `progress` is called several times a second with the events so far and the seconds.

    Raises OSError if the process cannot be started.
    """
    directory = Path(tempfile.mkdtemp(prefix="litesup-check-"))
    try:
        with _terminated_cleanly():
            checked = dataclasses.replace(generation, config_text=plan.text)
            file = write_rendered(checked, directory)
            order = {
                "arguments": [
                    "--config",
                    str(file),
                    "--num_workers",
                    "1",
                    "--port",
                    "1",
                ],  # 4000 is looked for, others not
                "directory": str(generation.directory),
                "models": [
                    {"index": one.index, "id": one.id, "asked_by": one.asked_by, "mode": one.mode}
                    for one in plan.models
                ],
            }
            with _process(program, order, dict(plan.environment)) as (process, reports):
                return _follow(process, reports, timeout, progress)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _process(program: Path, order: Event, environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    reports, far = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", str(program), str(far), str(os.getpid())],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(far,),
            start_new_session=True,
        )
    except BaseException:
        os.close(reports)
        raise
    finally:
        os.close(far)
    try:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended already, and what it said is read below
            process.stdin.write(json.dumps(order).encode())
            process.stdin.close()
        yield process, reports
    finally:
        _end(process)
        os.close(reports)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends it and everything in its session, whatever it is doing."""
    session = process.pid  # not yet waited for, so the number is still its own
    for pid in kernel.session_members(session):
        kernel.kill_session_member(pid, session)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _follow(
    process: subprocess.Popen[bytes], reports: int, timeout: float, progress: Callable[[tuple[Event, ...], float], None]
) -> Run:
    assert process.stdout is not None
    began = time.monotonic()
    deadline = began + timeout
    told = _Lines()
    output = _Lines(keep=_LAST_LINES)
    leaving: float | None = None  # since when there is nothing more to hear
    with selectors.DefaultSelector() as selector:
        selector.register(reports, selectors.EVENT_READ, told)
        selector.register(process.stdout, selectors.EVENT_READ, output)
        while selector.get_map() and (now := time.monotonic()) < deadline:
            for key, _ in selector.select(min(_TICK, deadline - now)):
                data = os.read(key.fd, _READ)
                key.data.take(data)
                if not data:
                    selector.unregister(key.fileobj)
            events = told.events()
            if leaving is None and (told.ended or (events and events[-1]["event"] in _LAST_WORDS)):
                leaving = deadline = time.monotonic() + _LEAVING
            progress(events, time.monotonic() - began)
    if leaving is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LEAVING)
    return Run(told.events(), time.monotonic() - began, leaving is None, process.poll(), tuple(output.lines))


class _Lines:
    """Bytes of a pipe as lines; the last `keep` of them."""

    def __init__(self, keep: int | None = None) -> None:
        self.lines: deque[str] = deque(maxlen=keep)
        self.ended = False
        self._partial = b""
        self._cut = keep is not None

    def take(self, data: bytes) -> None:
        self.ended = not data
        *whole, self._partial = (self._partial + data).split(b"\n")
        if self.ended or (self._cut and len(self._partial) > _LONGEST_LINE):
            whole.append(self._partial)
            self._partial = b""
        for line in whole:
            text = line.decode("utf-8", "replace").rstrip()
            if text:
                self.lines.append(text[:_LONGEST_LINE] if self._cut else text)

    def events(self) -> tuple[Event, ...]:
        events = []
        for line in self.lines:
            with contextlib.suppress(ValueError):  # the last line of a process that was killed
                events.append(json.loads(line))
        return tuple(events)


@contextlib.contextmanager
def _terminated_cleanly() -> Iterator[None]:
    """SIGTERM and SIGHUP leave through here like Ctrl-C, so that nothing stays behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
