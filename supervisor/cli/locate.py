"""Which daemon a command means: the options that all of them share, and the way from there to its socket."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from supervisor import presence
from supervisor.errors import ConfigurationRefused
from supervisor.settings.directories import choose_runtime_dir

if TYPE_CHECKING:
    from supervisor.control.client import ControlClient

Function = TypeVar("Function", bound=Callable[..., Any])

EXISTING_FILE = click.Path(path_type=Path)


def location_options(function: Function) -> Function:
    """--runtime-dir and --settings."""
    function = click.option(
        "--settings", type=EXISTING_FILE, metavar="FILE", help="litesup.yaml, if it is not in this directory."
    )(function)
    return click.option(
        "--runtime-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The daemon's directory, if not the usual.",
    )(function)


def runtime_directory(given: Path | None, settings: Path | None) -> Path:
    """Where the daemon meant by these options has its socket. Raises ConfigurationRefused.

    The settings are read only where they can matter: reading them takes longer than the question to the daemon.
    """
    environ = os.environ
    if given is None and (text := environ.get("LITESUP_RUNTIME_DIR")):
        given = Path(text).expanduser()
    if given is None and (settings or environ.get("LITESUP_SETTINGS") or presence.exists(Path("litesup.yaml"))):
        from supervisor.settings.load import load_settings

        try:
            given = load_settings(flags={}, environ=environ, settings_file=settings).runtime_dir
        except ConfigurationRefused:
            # A file that was broken since must not hide the daemon that goes on with what it said before.
            if not presence.exists(choose_runtime_dir(None, environ, os.geteuid()) / "control.sock"):
                raise
    return choose_runtime_dir(given, environ, os.geteuid())


def control(runtime_dir: Path | None, settings: Path | None) -> ControlClient:
    from supervisor.control.client import ControlClient

    return ControlClient(runtime_directory(runtime_dir, settings))
