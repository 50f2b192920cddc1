"""Programs of tests/sdk in Node: what they print, as it comes, and whether this machine can run them at all."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent / "sdk"
OLDEST_NODE = 20

Document = dict[str, Any]


@functools.cache
def missing(*, packages: bool) -> str | None:
    """Why no program can be run here; None if they can. Without `packages`, those that need Node only."""
    node = shutil.which("node")
    if node is None:
        return f"Node is not installed (node {OLDEST_NODE} or newer, and npm)"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    found = re.match(r"v(\d+)", version)
    if found is None or int(found[1]) < OLDEST_NODE:
        return f"Node is too old: {version or 'of no version'}, and OpenAI's client needs {OLDEST_NODE} or newer"
    if packages and not (FOLDER / "node_modules" / "openai").is_dir():
        return "OpenAI's Node client is not installed: `make sdk` installs it, and needs npm"
    return None


def require(*, packages: bool = True) -> None:
    """Skips the test where Node is missing; where everything is supposed to be there (`CI`), fails it."""
    why = missing(packages=packages)
    if why is None:
        return
    if os.environ.get("CI") and shutil.which("node") and shutil.which("npm"):
        pytest.fail(why)
    pytest.skip(why)


class Program:
    """A program that prints a JSON document a line. What it has printed so far is in `printed`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.printed: list[Document] = []

    async def line(self) -> Document:
        """The next document, waited for."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 60)
        if not line:
            assert self._process.stderr is not None
            complaint = (await self._process.stderr.read()).decode()
            raise AssertionError(f"the program ended; printed: {self.printed}\n{complaint}")
        document: Document = json.loads(line)
        self.printed.append(document)
        return document

    async def until(self, key: str) -> Document:
        """The next document that has this key; those before it are kept in `printed`."""
        while key not in (document := await self.line()):
            pass
        return document

    def tell(self) -> None:
        """Lets a program go on that waits for a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    @property
    def statuses(self) -> list[int]:
        """Of every response that the client got so far, those that it kept to itself included."""
        return [document["status"] for document in self.printed if "status" in document]

    async def ended(self) -> Document:
        """What it came to: the document with its result or its error."""
        while not {"result", "error"} & (document := await self.line()).keys():
            pass
        return document

    async def result(self) -> Any:
        document = await self.ended()
        assert "result" in document, self.printed
        return document["result"]

    async def error(self) -> Document:
        document = await self.ended()
        assert "error" in document, self.printed
        error: Document = document["error"]
        return error


@contextlib.asynccontextmanager
async def running(script: str, *arguments: str, environment: Mapping[str, str]) -> AsyncIterator[Program]:
    """One program of tests/sdk, until the block ends; it then ends too."""
    process = await asyncio.create_subprocess_exec(
        "node",
        str(FOLDER / script),
        *arguments,
        env={"PATH": os.environ["PATH"], **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
