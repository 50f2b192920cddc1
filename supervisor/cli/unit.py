"""`litesup systemd`: the unit that runs litesup as a service."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from supervisor.cli.assets import asset

DOCUMENTED = "/opt/litesup/bin/litesup"
"""The program's path as it stands in systemd/litesup.service."""


@click.group("systemd", short_help="Run litesup as a service.")
def systemd_command() -> None:
    """Run litesup as a service."""


@systemd_command.command("print")
def print_command() -> None:
    """Print the unit, with this installation's own path in it.

    For example: litesup systemd print | sudo tee /etc/systemd/system/litesup.service
    """
    click.echo(unit_text(asset("systemd/litesup.service").read_text(encoding="utf-8"), own_path()), nl=False)


def unit_text(template: str, program: str) -> str:
    return template.replace(DOCUMENTED, program)


def own_path() -> str:
    """The command that this very process was started with, or the one beside its Python."""
    started = Path(sys.argv[0])
    if started.name == "litesup" and started.is_file():
        return str(started.absolute())
    beside = Path(sys.executable).parent / "litesup"
    return str(beside) if beside.is_file() else shutil.which("litesup") or DOCUMENTED
