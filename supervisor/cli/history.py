"""The commands that look back and go back: history and rollback."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from supervisor.cli.locate import control, location_options
from supervisor.errors import ExitCode, NoDaemon

if TYPE_CHECKING:
    from supervisor.control.operations import HistoryEntry


@click.command("history", short_help="List the good configurations that are kept.")
@location_options
@click.option("--state-dir", type=click.Path(path_type=Path), metavar="DIR", help="The daemon's, if not the usual.")
@click.option("--json", "as_json", is_flag=True, help="The whole list, for programs.")
def history_command(runtime_dir: Path | None, settings: Path | None, state_dir: Path | None, as_json: bool) -> None:
    """List the good generations that are kept, the newest first: when each came into force, and why.

    A generation is kept once it has served on every replica for rollout.settle seconds; the last ten are. What is kept
    is what the files said, with references as references: no value of a variable, but also whatever was typed into the
    files, so that it is readable by the daemon's user only.

    Where no daemon runs, the state directory that `start` would use is read, and nothing is changed in it.
    """
    from supervisor.control import wire

    client = control(runtime_dir, settings)
    try:
        document = client.history_document()
    except NoDaemon as nobody:
        document = wire.history_to_json(_kept(nobody, settings, state_dir))
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    entries = wire.history_from_json(document)
    if not entries:
        click.echo("no good generation is kept yet; one is when it has served on every replica for a moment")
        return
    from supervisor.cli.render import history_table
    from supervisor.cli.terminal import stdout_console

    stdout_console().print(history_table(entries, time.time()))


def _kept(nobody: NoDaemon, settings: Path | None, state_dir: Path | None) -> tuple[HistoryEntry, ...]:
    """What the state directory holds of the configuration that `start` would use."""
    from supervisor.history.listed import listed
    from supervisor.history.store import History
    from supervisor.settings.directories import choose_state_dir
    from supervisor.settings.load import load_settings

    loaded = load_settings(flags={"state_dir": state_dir}, environ=os.environ, settings_file=settings)
    history = History(choose_state_dir(loaded.state_dir, os.environ, os.geteuid()), loaded.config)
    shelf = history.shelf()
    for reason in shelf.skipped:
        click.echo(f"litesup: skipped: {reason}", err=True)
    source = loaded.config.absolute()
    if not shelf.entries:
        raise NoDaemon(
            f"{nobody}. Nothing is kept of {source} in {history.directory}: "
            "--settings and --state-dir name another place"
        )
    click.echo(f"litesup: no daemon answers; this is what {history.directory} holds of {source}", err=True)
    return listed(shelf)


@click.command("rollback", short_help="Go back to the last good configuration, or a named one.")
@location_options
@click.argument("digest", required=False)
@click.option("--wait", is_flag=True, help="Wait until it serves everywhere, or was given up.")
def rollback_command(runtime_dir: Path | None, settings: Path | None, digest: str | None, wait: bool) -> None:
    """Go back to the good generation before the present one, or to DIGEST (its beginning is enough), as it was.

    It is rolled out like any change, one replica on trial first. The file on disk stays as it is, and is not applied
    again before it changes, or `litesup reload` says so. Ends with 3 and the reason when there is nothing to go back
    to, or its replicas failed (that is known with --wait only).
    """
    from supervisor.cli.render import reload_lines, rolling_line
    from supervisor.cli.terminal import watched
    from supervisor.control.operations import FAILED

    client = control(runtime_dir, settings)
    with watched(client, rolling_line, when=wait):
        outcome = client.rollback(digest, wait=wait)
    failed = outcome.result in FAILED
    click.echo(reload_lines(outcome), err=failed)
    if failed:
        click.get_current_context().exit(ExitCode.REFUSED)
