"""The command line as a process: what a shell, a pipe and Ctrl-C see of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.control.operations import LogLine
from tests.scripted_daemon import ScriptedDaemon

ROOT = Path(__file__).parent.parent.parent


def program(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "supervisor.cli.main", *arguments]


@pytest.fixture
def daemon(short_dir: Path) -> Iterator[ScriptedDaemon]:
    daemon = ScriptedDaemon(short_dir)
    daemon.start()
    yield daemon
    daemon.end()


def environment(daemon: ScriptedDaemon) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "LITESUP_RUNTIME_DIR": str(daemon.runtime_dir)}


@pytest.fixture
def foreground() -> Iterator[None]:
    """Children heed Ctrl-C, also where these tests run in the background of a shell, which has it ignored there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("foreground")
def test_ctrl_c_ends_a_follower_in_silence(daemon: ScriptedDaemon) -> None:
    follower = subprocess.Popen(
        program("logs", "-f"), env=environment(daemon), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert daemon.operations.followed.wait(60)
        follower.send_signal(signal.SIGINT)
        out, err = follower.communicate(timeout=60)
    finally:
        follower.kill()
        follower.wait()
    assert follower.returncode == 130
    assert (out, err.strip()) == ("", "")


def test_a_reader_that_leaves_early_is_no_error(daemon: ScriptedDaemon) -> None:
    daemon.operations.lines = [LogLine(1.0, 1, 1, "gen", "x" * 1000)] * 500
    logs = subprocess.Popen(
        program("logs"), env=environment(daemon), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert logs.stdout is not None
    assert logs.stderr is not None
    logs.stdout.readline()
    logs.stdout.close()
    assert logs.stderr.read() == ""
    logs.wait(60)
    logs.stderr.close()


@pytest.mark.parametrize("module", ["aiohttp", "pydantic", "structlog", "prometheus_client", "asyncio", "rich", "yaml"])
def test_asking_a_daemon_imports_nothing_that_is_slow(daemon: ScriptedDaemon, module: str) -> None:
    code = f"import sys; from supervisor.cli.main import litesup\nlitesup(['status', '--json'], standalone_mode=False)\nassert {module!r} not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(daemon), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
