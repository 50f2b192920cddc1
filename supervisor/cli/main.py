"""The command `litesup`: the group of commands, and how each ends.

Commands are imported when they are asked for, so that `litesup status` does not wait for what only `start` needs. What
litesup raises on purpose becomes one message on stderr and the exit code that belongs to it, never a traceback.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import Any

import click

from supervisor.errors import ConfigurationRefused, LitesupError

COMMANDS = {
    "start": "supervisor.cli.start",
    "status": "supervisor.cli.pool",
    "stop": "supervisor.cli.pool",
    "reload": "supervisor.cli.pool",
    "rollback": "supervisor.cli.history",
    "history": "supervisor.cli.history",
    "restart": "supervisor.cli.pool",
    "scale": "supervisor.cli.pool",
    "drain": "supervisor.cli.pool",
    "logs": "supervisor.cli.logs",
    "check": "supervisor.cli.config",
    "render": "supervisor.cli.config",
    "test": "supervisor.cli.test",
    "key": "supervisor.cli.config",
    "systemd": "supervisor.cli.unit",
}

INTERRUPTED = 130
"""What a shell expects of a program that Ctrl-C ended: 128 + SIGINT."""


class Commands(click.Group):
    """The commands of COMMANDS, in that order, each imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name]), f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        near = difflib.get_close_matches(args[0], COMMANDS, n=1) if args and args[0] not in COMMANDS else []
        if near:
            ctx.fail(f"there is no command {args[0]}; did you mean {near[0]}?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LitesupError as error:
            text = str(error)
            click.echo(text if isinstance(error, ConfigurationRefused) else f"litesup: {text}", err=True)
            ctx.exit(int(error.exit_code))


def _show_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import PackageNotFoundError, version

        def known(name: str) -> str:
            try:
                return version(name)
            except PackageNotFoundError:
                return "not installed"

        click.echo(f"litesup {known('litesup')} (LiteLLM {known('litellm')}, Python {sys.version.split()[0]})")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show versions and exit."
)
def litesup() -> None:
    """Keeps a pool of LiteLLM proxies running behind one port."""


def main() -> None:
    """The console script."""
    try:
        code = litesup.main(prog_name="litesup", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left, as `head` does; the interpreter must not try to flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
