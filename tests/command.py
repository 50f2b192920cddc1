"""One `litesup` command, as an operator gives it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def command() -> list[str]:
    """The installed command, or the module where the project runs without having been installed."""
    script = Path(sys.executable).parent / "litesup"
    return [str(script)] if script.exists() else [sys.executable, "-m", "supervisor.cli.main"]


@dataclass(frozen=True, slots=True)
class Finished:
    """How one command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    def document(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.stdout)
        return loaded


async def run(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, *, within: float = 60.0
) -> Finished:
    """One `litesup` command, to its end."""
    process = await asyncio.create_subprocess_exec(
        *command(),
        *arguments,
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(within):
            stdout, stderr = await process.communicate()
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    assert process.returncode is not None
    return Finished(process.returncode, stdout.decode(), stderr.decode())
