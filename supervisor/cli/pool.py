"""The commands that look at and steer a running pool: status, stop, reload, restart, scale, drain."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click

from supervisor.cli.locate import control, location_options
from supervisor.errors import ExitCode, NotReadyInTime

WATCH_INTERVAL = 1.0
"""Seconds between two looks of `status --watch`."""

slot_type = click.IntRange(min=1)


@click.command("status", short_help="Show the pool: replicas, generation, requests.")
@location_options
@click.option("--json", "as_json", is_flag=True, help="The whole document, for programs.")
@click.option("--watch", is_flag=True, help="Show it again every second until Ctrl-C.")
def status_command(runtime_dir: Path | None, settings: Path | None, as_json: bool, watch: bool) -> None:
    """Show the pool: replicas, generation, requests."""
    client = control(runtime_dir, settings)
    if as_json:
        while True:
            click.echo(json.dumps(client.status_document(), indent=None if watch else 2))
            if not watch:
                return
            time.sleep(WATCH_INTERVAL)
    from supervisor.cli.render import status_view
    from supervisor.cli.terminal import stdout_console

    console = stdout_console()
    if not watch:
        console.print(status_view(client.status(), time.time()))
        return
    from rich.live import Live

    with Live(status_view(client.status(), time.time()), console=console, auto_refresh=False, screen=False) as live:
        while True:
            time.sleep(WATCH_INTERVAL)
            live.update(status_view(client.status(), time.time()), refresh=True)


@click.command("stop", short_help="Stop the daemon, and wait until it is gone.")
@location_options
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", default=120.0, show_default=True, help="For its end."
)
def stop_command(runtime_dir: Path | None, settings: Path | None, timeout: float) -> None:
    """Stop the daemon and wait until it is gone.

    What is in flight may finish (for stop.drain seconds); nothing new is accepted.
    """
    from supervisor.cli.render import stopping_line
    from supervisor.cli.terminal import Progress

    client = control(runtime_dir, settings)
    client.stop()
    with Progress(sys.stderr) as progress:
        for seen in client.wait_gone(timeout):
            progress.show(stopping_line(seen))
    if not client.gone():
        raise NotReadyInTime(
            f"the daemon is still stopping after {timeout:g} s; it goes on by itself. "
            "A second signal makes it skip the waiting; see also: litesup status"
        )
    click.echo("stopped")


@click.command("reload", short_help="Read the configuration again, and roll it out.")
@location_options
@click.option("--wait", is_flag=True, help="Wait until the new configuration serves everywhere, or was given up.")
def reload_command(runtime_dir: Path | None, settings: Path | None, wait: bool) -> None:
    """Read litesup.yaml and the LiteLLM configuration again, and roll the latter out if it changed.

    Says which settings apply from now on, and which need a restart. Ends with 3 and the reason when a file is refused,
    or a new generation taken back because its replicas failed (that is known with --wait only). What was in force then
    stays. What `litesup rollback` went back from is applied again.
    """
    from supervisor.cli.render import reload_lines, rolling_line
    from supervisor.cli.terminal import watched
    from supervisor.control.operations import FAILED

    client = control(runtime_dir, settings)
    with watched(client, rolling_line, when=wait):
        outcome = client.reload(wait=wait)
    failed = outcome.result in FAILED or bool(outcome.settings.problems)
    click.echo(reload_lines(outcome), err=failed)
    if failed:
        click.get_current_context().exit(ExitCode.REFUSED)


@click.command("restart", short_help="Replace replicas, each replacement first.")
@location_options
@click.argument("slots", nargs=-1, type=slot_type, metavar="[SLOT]...")
def restart_command(runtime_dir: Path | None, settings: Path | None, slots: tuple[int, ...]) -> None:
    """Replace replicas (all, or those of these slots), one at a time, each replacement first.

    No request is lost, and there are never fewer replicas than wanted. Returns when the replacements serve.
    """
    from supervisor.cli.render import rolling_line
    from supervisor.cli.terminal import watched

    client = control(runtime_dir, settings)
    with watched(client, rolling_line):
        done = client.restart(slots)
    named = ", ".join(str(slot) for slot in done)
    click.echo(f"restarted slot{'s' if len(done) != 1 else ''} {named}" if done else "nothing to restart")


@click.command("scale", short_help="Change how many replicas run.")
@location_options
@click.argument("count", type=click.IntRange(min=1), metavar="N")
def scale_command(runtime_dir: Path | None, settings: Path | None, count: int) -> None:
    """Change how many replicas run, until the next start."""
    control(runtime_dir, settings).scale(count)
    click.echo(f"scaling to {count} replica{'s' if count != 1 else ''}; see: litesup status")


@click.command("drain", short_help="Let one replica finish, then replace it.")
@location_options
@click.argument("slot", type=slot_type)
def drain_command(runtime_dir: Path | None, settings: Path | None, slot: int) -> None:
    """Let the replica of SLOT finish what it has, without new requests, then replace it."""
    control(runtime_dir, settings).drain(slot)
    click.echo(f"draining slot {slot}; see: litesup status")
