"""`litesup logs`: what the replicas say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from supervisor.cli.locate import control, location_options


@click.command("logs", short_help="Show what the replicas write.")
@location_options
@click.argument("slots", nargs=-1, type=click.IntRange(min=1), metavar="[SLOT]...")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document per line.")
def logs_command(
    runtime_dir: Path | None, settings: Path | None, slots: tuple[int, ...], follow: bool, as_json: bool
) -> None:
    """Show what the replicas (all, or those of these slots) have written lately.

    Each line begins with its time and slot/replica, on a pipe also with its generation.
    """
    from supervisor.cli.render import log_line
    from supervisor.control.wire import log_line_to_json

    colour = sys.stdout.isatty()
    for line in control(runtime_dir, settings).log_lines(slots, follow=follow):
        if as_json:
            click.echo(json.dumps(log_line_to_json(line), ensure_ascii=False))
        else:
            click.echo(log_line(line, colour=colour))
