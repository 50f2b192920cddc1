"""`litesup test`: is the balancer up, does each model answer, and if not, what to do."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from supervisor.cli.locate import location_options, runtime_directory
from supervisor.errors import ExitCode, LitesupError

if TYPE_CHECKING:
    from supervisor.doctor.deployments import Deployment
    from supervisor.doctor.diagnosis import Check
    from supervisor.settings.schema import Settings
    from supervisor.status import Status


def _web_address(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        with contextlib.suppress(ValueError):
            parts = urllib.parse.urlsplit(value)
            if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:  # asking for it checks it
                return value
        raise click.BadParameter("should be an address such as http://127.0.0.1:8000")
    return value


@click.command("test", short_help="See whether applications get answers, and why not.")
@location_options
@click.option("--model", "models", multiple=True, metavar="NAME", help="Ask this model only; may be repeated.")
@click.option(
    "--url",
    metavar="URL",
    callback=_web_address,
    help="The balancer's address, if it is not the one of this machine's daemon.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    help="For each model's answer.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def test_command(
    runtime_dir: Path | None,
    settings: Path | None,
    models: tuple[str, ...],
    url: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Check that applications get answers, and say what to do where they do not.

    Asks each model for one short chat completion, without a key, as an application would: that costs a few tokens. Ends
    with 1 if anything failed.
    """
    from supervisor.cli.render import check_lines
    from supervisor.doctor.diagnosis import Verdict
    from supervisor.settings.load import load_settings

    loaded = load_settings(flags={}, environ=os.environ, settings_file=settings)
    directory = runtime_directory(runtime_dir, settings)
    checks = []
    for check in _checks(loaded, directory, models, url, timeout):
        checks.append(check)
        if not as_json:
            click.echo(check_lines(check, colour=sys.stdout.isatty()))
    failed = any(check.verdict is Verdict.FAILED for check in checks)
    if as_json:
        listed = [{**dataclasses.asdict(check), "verdict": check.verdict.value} for check in checks]
        click.echo(json.dumps({"ok": not failed, "checks": listed}, indent=2, ensure_ascii=False))
    click.get_current_context().exit(ExitCode.FAILED if failed else ExitCode.DONE)


def _checks(
    settings: Settings, directory: Path, models: tuple[str, ...], url: str | None, timeout: float
) -> Iterator[Check]:
    from supervisor.cli.terminal import Progress
    from supervisor.doctor.attempt import get_health, post_chat
    from supervisor.doctor.diagnosis import Check, Verdict, judge_balancer, judge_model
    from supervisor.observe.redact import Redactor

    redact = Redactor(os.environ)
    status = _status(directory)
    address = (url or _address(settings, status)).rstrip("/")
    health = judge_balancer(address, get_health(address, redact), status, str(directory))
    yield health
    if health.verdict is Verdict.FAILED:
        return
    known = _deployments(settings, directory, status)
    chatting = [one.model_name for one in known if one.chats and "*" not in one.model_name]
    names = models or tuple(dict.fromkeys(chatting))
    if not names:
        advice = ("Name one with --model.",)
        yield Check("models", Verdict.SKIPPED, "no model that chats is known from the configuration", advice)
    for name in names:
        with Progress(sys.stderr) as progress:
            progress.show(f"asking {name} …")
            attempt = post_chat(address, name, timeout, redact)
        yield judge_model(name, attempt, [one for one in known if one.model_name == name])


def _status(directory: Path) -> Status | None:
    from supervisor.control.client import ControlClient

    with contextlib.suppress(LitesupError):
        return ControlClient(directory).status(timeout=3.0)
    return None


def _address(settings: Settings, status: Status | None) -> str:
    from supervisor.doctor.address import url_of

    if status is not None and status.balancer.listening:
        return url_of(status.balancer.listening[0])
    host = settings.balancer.host[0]
    return url_of(f"[{host}]:{settings.balancer.port}" if ":" in host else f"{host}:{settings.balancer.port}")


def _deployments(settings: Settings, directory: Path, status: Status | None) -> tuple[Deployment, ...]:
    """Of what the daemon runs, if that can be read; else of the file as this shell's environment resolves it."""
    import yaml

    from supervisor.doctor.deployments import deployments
    from supervisor.litellm_config.build import examine

    if status is not None:
        rendered = directory / f"litellm-{status.generation.wanted}" / "config.yaml"
        with contextlib.suppress(OSError, ValueError, yaml.YAMLError):
            return deployments(yaml.safe_load(rendered.read_text(encoding="utf-8")), os.environ)
    generation, _findings = examine(settings.config, os.environ)
    if generation is None:
        return ()
    return deployments(yaml.safe_load(generation.config_text), generation.environment)
