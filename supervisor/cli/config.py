"""The commands that look at the configuration and need no daemon: check, render, key."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from supervisor.cli.deep import TIMEOUT, deep_check, deep_document, deep_lines, with_excerpts
from supervisor.cli.locate import control, location_options
from supervisor.errors import ConfigurationRefused, ExitCode, Finding, LitesupError, Severity

if TYPE_CHECKING:
    from supervisor.litellm_config.generation import Generation
    from supervisor.settings.schema import Settings

settings_option = click.option(
    "--settings", type=click.Path(path_type=Path), metavar="FILE", help="litesup.yaml, if it is not in this directory."
)
file_argument = click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[FILE]")


@click.command("check", short_help="Check the configuration.")
@settings_option
@file_argument
@click.option("--deep", is_flag=True, help="Also have LiteLLM itself load it, sealed off from the network.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1.0),
    default=TIMEOUT,
    show_default=True,
    help="For --deep, in seconds: loading LiteLLM and asking all models.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--explain", metavar="CODE", help="Say what the code of a finding means, and check nothing.")
def check_command(
    settings: Path | None, file: Path | None, deep: bool, timeout: float, as_json: bool, explain: str | None
) -> None:
    """Check litesup.yaml and LiteLLM's configuration (FILE, or the one that `start` would use).

    Says what is wrong, what will surprise later, and what is adapted for LiteLLM and why; and looks whether ports,
    memory and the installation are as they should be. Ends with 3 if `start` would refuse it, which only errors do.
    docs/checks.md describes every finding.

    With --deep, LiteLLM loads the configuration in a process of its own and is asked once per model, with a stub in the
    provider's place: what fails there would fail in every replica, and ends with 3 too. It runs the Python modules
    that the configuration names. No connection is made, nothing is logged elsewhere, no token is spent. Ends with 1 if
    LiteLLM itself cannot be run.
    """
    if explain is not None:
        click.echo(_explanation(explain), nl=False)
        return
    from supervisor.cli.render import findings_text

    generation, findings = _examine(settings, file)
    outcome = None
    if deep and generation is not None:
        outcome = deep_check(generation, timeout=timeout)
        findings = (*findings, *with_excerpts(generation, outcome.findings))
    refused = generation is None or any(finding.severity is Severity.ERROR for finding in findings)
    if as_json:
        document: dict[str, Any] = {
            "ok": not refused,
            "generation": None if generation is None else generation.digest,
            "findings": [_finding_document(finding) for finding in findings],
        }
        if deep:
            document["deep"] = None if outcome is None else deep_document(outcome)
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        for line in deep_lines(outcome, colour=sys.stdout.isatty()) if outcome is not None else ():
            click.echo(line)
        if deep and outcome is None:
            click.echo("litesup: not given to LiteLLM before this is put right", err=True)
        click.echo(findings_text(findings, refused=refused, colour=sys.stdout.isatty(), directory=Path.cwd()))
    click.get_current_context().exit(ExitCode.REFUSED if refused else ExitCode.DONE)


def _examine(settings: Path | None, file: Path | None) -> tuple[Generation | None, tuple[Finding, ...]]:
    """The settings' problems, and those of the configuration as far as it is known which one is meant."""
    from supervisor.cli.surroundings import look
    from supervisor.litellm_config.build import examine

    try:
        loaded = _load(settings)
    except ConfigurationRefused as refused:
        found = examine(file, os.environ)[1] if file is not None else ()
        return None, (*refused.findings, *found)
    return examine(file or loaded.config, os.environ, look(loaded))


def _explanation(name: str) -> str:
    from supervisor.litellm_config.lint.codes import all_codes, code_named
    from supervisor.litellm_config.lint.near import did_you_mean
    from supervisor.litellm_config.lint.page import section

    code = code_named(name)
    if code is None:
        near = did_you_mean(name, {one.code for codes in all_codes().values() for one in codes})
        raise click.BadParameter(f"there is no finding {name}. {near}".strip(), param_hint="--explain")
    return section(code)


def _finding_document(finding: Finding) -> dict[str, Any]:
    document = dataclasses.asdict(finding)
    document["severity"] = finding.severity.value
    document["file"] = None if finding.file is None else str(finding.file)
    return document


@click.command("render", short_help="Print what LiteLLM gets to read.")
@settings_option
@file_argument
def render_command(settings: Path | None, file: Path | None) -> None:
    """Print the configuration as LiteLLM will get it.

    It holds references instead of what variables hold, but for lists, in which LiteLLM resolves none, and numbers.
    """
    from supervisor.litellm_config.build import examine

    generation, findings = examine(file or _load(settings).config, os.environ)
    if generation is None:
        raise ConfigurationRefused([finding for finding in findings if finding.severity is Severity.ERROR])
    for finding in findings:
        click.echo(str(finding), err=True)
    click.echo(generation.config_text, nl=False)


@click.command("key", short_help="Show the pool's master key.")
@location_options
@click.option("--state-dir", type=click.Path(path_type=Path), metavar="DIR", help="The daemon's, if not the usual.")
def key_command(runtime_dir: Path | None, settings: Path | None, state_dir: Path | None) -> None:
    """Show the pool's master key to its owner, or to root: stdout gets the key and nothing else.

    It is the one that the configuration or LITELLM_MASTER_KEY gives, else the one that litesup has made and kept.
    """
    from supervisor.litellm_config import master_key
    from supervisor.litellm_config.build import examine
    from supervisor.settings.directories import choose_state_dir

    loaded = _load(settings, {"state_dir": state_dir})
    directory = choose_state_dir(loaded.state_dir, os.environ, os.geteuid())
    _refuse_strangers(directory / master_key.FILE_NAME)
    source = _running_config(runtime_dir, settings) or loaded.config
    generation, _findings = examine(source, os.environ)
    if generation is None:
        click.echo(
            f"litesup: {source} cannot be used with this shell's environment (see: litesup check); "
            f"this is the key kept in {directory}",
            err=True,
        )
    elif generation.master_key.get_secret_value() != master_key.PLACEHOLDER.get_secret_value():
        click.echo(generation.master_key.get_secret_value())
        return
    kept = master_key.kept(directory)
    if kept is None:
        raise LitesupError(f"there is no master key in {directory} yet; the first start makes one")
    click.echo(kept.get_secret_value())


def _running_config(runtime_dir: Path | None, settings: Path | None) -> Path | None:
    """The configuration of the daemon that runs, which may have been started elsewhere."""
    with contextlib.suppress(LitesupError):
        return Path(control(runtime_dir, settings).status(timeout=3.0).daemon.config)
    return None


def _refuse_strangers(file: Path) -> None:
    try:
        owner = file.lstat().st_uid
    except FileNotFoundError:
        return
    except PermissionError:
        raise LitesupError(f"{file} belongs to another user, and so does the key in it") from None
    if os.geteuid() not in (0, owner):  # root can read it in any case
        raise LitesupError(
            f"{file} belongs to another user (uid {owner}), and so does the key in it. "
            f"Ask as that user, for example: sudo -u '#{owner}' litesup key --state-dir {file.parent}"
        )


def _load(file: Path | None, flags: dict[str, object] | None = None) -> Settings:
    from supervisor.settings.load import load_settings

    return load_settings(flags=flags or {}, environ=os.environ, settings_file=file)
