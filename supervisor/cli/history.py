"""The commands that look back and go back: history and rollback."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from supervisor.cli.locate import control, location_options
from supervisor.errors import ExitCode


@click.command("history", short_help="List the good configurations that are kept.")
@location_options
@click.option("--json", "as_json", is_flag=True, help="The whole list, for programs.")
def history_command(runtime_dir: Path | None, settings: Path | None, as_json: bool) -> None:
    """List the good generations that are kept, the newest first: when each came into force, and why.

    A generation is kept once it has served on every replica for rollout.settle seconds; the last ten are. What is kept
    is what the files said, with references as references: no value of a variable, but also whatever was typed into the
    files, so that it is readable by the daemon's user only.
    """
    client = control(runtime_dir, settings)
    if as_json:
        click.echo(json.dumps(client.history_document(), indent=2))
        return
    entries = client.history()
    if not entries:
        click.echo("no good generation is kept yet; one is when it has served on every replica for a moment")
        return
    from supervisor.cli.render import history_table
    from supervisor.cli.terminal import stdout_console

    stdout_console().print(history_table(entries, time.time()))


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
