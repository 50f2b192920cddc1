"""`litesup start`: from the command line to settings, and from there to the daemon."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from supervisor.cli.assets import asset
from supervisor.errors import LitesupError

path_type = click.Path(path_type=Path)


@click.command("start", short_help="Run the pool, until Ctrl-C or `litesup stop`.")
@click.option("--replicas", type=click.IntRange(min=1), metavar="N", help="How many.  [one per core, at least 2]")
@click.option("--config", type=path_type, metavar="FILE", help="LiteLLM's configuration.  [litellm.config.yaml]")
@click.option("--settings", type=path_type, metavar="FILE", help="litesup's own settings.  [litesup.yaml, if present]")
@click.option("--host", multiple=True, metavar="ADDRESS", help="Where to listen; may be repeated.  [127.0.0.1, ::1]")
@click.option("--port", type=click.IntRange(0, 65535), metavar="P", help="The port that applications use.  [8000]")
@click.option("--runtime-dir", type=path_type, metavar="DIR", help="For the sockets; private to this user.")
@click.option("--state-dir", type=path_type, metavar="DIR", help="For what outlives the daemon, as a made master key.")
@click.option(
    "--last-good/--no-last-good",
    default=None,
    help="Where the configuration cannot be started, start the last good one.  [no]",
)
@click.option("--demo", is_flag=True, help="Serve made-up answers: no key, no network, nothing to configure.")
def start_command(
    replicas: int | None,
    config: Path | None,
    settings: Path | None,
    host: tuple[str, ...],
    port: int | None,
    runtime_dir: Path | None,
    state_dir: Path | None,
    last_good: bool | None,
    demo: bool,
) -> None:
    """Run the pool in the foreground, until Ctrl-C or `litesup stop`.

    Listens at once; requests wait until the first replica is ready. Options win over LITESUP_… variables, those over
    litesup.yaml.
    """
    from supervisor.cli.progress import StartProgress
    from supervisor.settings.source import SettingsSource

    if demo and config is not None:
        raise click.UsageError("--demo brings its own configuration; leave out --config")
    flags = {
        "replicas.count": replicas,
        "config": (asset("config/demo.yaml") if demo else config),
        "balancer.host": host,
        "balancer.port": port,
        "runtime_dir": runtime_dir,
        "state_dir": state_dir,
        "rollout.last_good": last_good,
    }
    source = SettingsSource(flags, dict(os.environ), settings)
    loaded = source.read()
    try:
        from supervisor.start import run_daemon
    except ModuleNotFoundError as error:
        raise LitesupError(f"litesup is not installed completely: {error.name} is missing") from None

    with StartProgress(loaded, sys.stdout, sys.stderr) as progress:
        code = run_daemon(loaded, dict(os.environ), listeners=[progress.on_event], source=source)
    click.get_current_context().exit(int(code))
