"""The command line, without anything around it that it could read by mistake, and a scripted daemon to ask."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from supervisor.cli.main import litesup
from tests.scripted_daemon import ScriptedDaemon

OURS = ("LITESUP_", "RUNTIME_DIRECTORY", "STATE_DIRECTORY", "XDG_", "LITELLM_", "NO_COLOR", "FORCE_COLOR")


@pytest.fixture(autouse=True)
def clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and nothing in the environment that litesup reads."""
    for name in os.environ:
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


@pytest.fixture
def run_cli() -> Callable[..., Result]:
    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(litesup, [str(argument) for argument in arguments], prog_name="litesup")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def daemon(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    daemon = ScriptedDaemon(short_dir)
    daemon.start()
    monkeypatch.setenv("LITESUP_RUNTIME_DIR", str(short_dir))
    yield daemon
    daemon.end()
