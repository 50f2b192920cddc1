from __future__ import annotations

from collections.abc import Callable

import click
import pytest
from click.testing import Result

from supervisor.cli.main import COMMANDS, litesup

Run = Callable[..., Result]


def test_the_help_names_every_command_with_a_whole_sentence(run_cli: Run) -> None:
    result = run_cli("--help")
    listed = {line.split()[0]: line for line in result.stdout.split("Commands:")[1].splitlines() if line.strip()}
    assert list(listed) == list(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed.values())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run_cli: Run, command: str) -> None:
    result = run_cli(command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: litesup {command}")


def test_every_option_says_what_it_does(run_cli: Run) -> None:
    context = click.Context(litesup)
    for name in COMMANDS:
        command = litesup.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, f"{name} {parameter.opts}"


def test_the_version_names_litellms_too(run_cli: Run) -> None:
    assert "LiteLLM" in run_cli("--version").stdout
