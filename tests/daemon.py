"""A litesup daemon as an operator runs it: the installed command in a process of its own, seen only from outside.

It has its own configuration folder, runtime and state directory. What it prints is kept; JSON lines among it are the
log's events. Every process that it starts inherits a mark in its environment, by which a test finds what is left of it,
wherever it was reparented to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import pytest
import yaml

from tests.command import Finished, command, run
from tests.eventually import eventually

ROOT = Path(__file__).parent.parent
MARK = "TEST_RUN_MARK"  # no name of litesup's own, for those do not reach a replica
CLIENTLESS = 10_000  # ports below those that clients get
START_WITHIN = 90.0  # seconds until every replica serves, on a machine busy with other things

Document = dict[str, Any]

GUIDE = """\
model_list:
  - model_name: gpt-4
    litellm_params:
      model: gpt-4o-2024-08-06 # Your Azure OpenAI deployment name
      api_base: {url}/
      api_version: "2024-08-01-preview"
      api_key: ${{AZURE_OPENAI_API_KEY}}

litellm_settings:
  drop_params: True
  set_verbose: True

environment_variables:
  AZURE_OPENAI_API_KEY: ${{AZURE_OPENAI_API_KEY}}
"""
"""The guide's own file; only the host is the caller's. `url` without the final slash."""


def clean_environment(home: Path) -> dict[str, str]:
    """What a service's environment holds, and nothing of the developer's own."""
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}
    if len(command()) > 1:
        environment["PYTHONPATH"] = str(ROOT)
    return environment


def free_port() -> int:
    """A port of the loopback interface that is free, and that the kernel gives to no client before it is used."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(max(1024, lowest - CLIENTLESS), max(2048, lowest))  # no seed of a test's
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


class Daemon:
    """One `litesup start`, from before its start until nothing of it is left."""

    def __init__(
        self,
        config: str | None,
        *,
        replicas: int = 3,
        environment: Mapping[str, str] | None = None,
        settings: Document | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ls-", dir="/tmp"))
        self.home = self.folder / "home"
        self.home.mkdir()
        self.runtime_dir = self.folder / "run"
        self.state_dir = self.folder / "state"
        self.config = self.folder / "litellm.config.yaml"
        if config is not None:
            self.config.write_text(config)
        self.replicas = replicas
        self.admin_url = ""
        self.command = command()
        self.mark = uuid.uuid4().hex
        self.environment = clean_environment(self.home) | {MARK: self.mark} | dict(environment or {})
        self.events: list[Document] = []
        self.output: list[str] = []
        self._settings = settings or {}
        self._flags = [*flags] if config is None else ["--config", str(self.config), *flags]
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._url = ""

    # Its life.

    async def __aenter__(self) -> Self:
        try:
            await self.start()
            await self.ready()
        except BaseException as error:
            await self.clean_up(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.clean_up(error)

    async def start(self) -> None:
        """Starts the process; what it printed before is forgotten."""
        self.events.clear()
        self._url = ""
        admin_port = free_port()
        self.admin_url = f"http://127.0.0.1:{admin_port}"
        settings = self.folder / "litesup.yaml"
        document = {
            "state_dir": str(self.state_dir),
            "admin": {"port": admin_port},
            "logs": {"format": "json"},
            **self._settings,
        }
        settings.write_text(yaml.safe_dump(document))
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            "start",
            *self._flags,
            "--settings",
            str(settings),
            "--replicas",
            str(self.replicas),
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--runtime-dir",
            str(self.runtime_dir),
            cwd=self.folder,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=2**20,
        )
        self._reader = asyncio.create_task(self._read(self._process))

    async def ready(self, within: float = START_WITHIN) -> None:
        """Returns when as many replicas are ready as are wanted, and the address is known."""
        await self.until(lambda: self.count("replica_ready") >= self.replicas, within, "all replicas ready")
        document = await self.status()
        assert document["ready_replicas"] == self.replicas
        self._url = _address(document["balancer"]["listening"])

    async def wait(self, within: float = 60.0) -> int:
        """The exit code, once it has ended."""
        async with asyncio.timeout(within):
            code = await self._running.wait()
            if self._reader is not None:
                await asyncio.shield(self._reader)
        return code

    async def clean_up(self, error: BaseException | None = None) -> None:
        """Ends whatever is left, and shows the log when a test failed."""
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), 15)
            except TimeoutError:
                self.output.append("-- did not stop within 15 s: killed --")
                process.kill()
        for left in self.processes():
            left.kill()
        if process is not None:
            await process.wait()
        if self._reader is not None:
            await asyncio.wait([self._reader], timeout=5)
            self._reader.cancel()
        if error is not None:
            self.show()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def shown_if_it_fails(self, test: pytest.FixtureRequest) -> Iterator[Self]:
        """What it prints within the block, for a person, where the test has failed by its end."""
        before, failed = len(self.output), test.session.testsfailed
        yield self
        if test.session.testsfailed > failed:
            self.show(len(self.output) - before)

    async def restore(self, text: str) -> None:
        """This configuration everywhere, and at rest, whatever a test has made of it."""
        if self.config.read_text() != text:
            self.save(text)
            await self.run("reload", "--wait")
        await self.settled()

    def show(self, lines: int = 200) -> None:
        """Prints the end of what it printed, for a person who reads a failed test."""
        print(f"---- the daemon's last {lines} lines ----")
        print("\n".join(self.output[-lines:]))

    # What it says.

    @property
    def url(self) -> str:
        """Where the balancer listens, without a final slash."""
        return self._url

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "not started"
        return self._process

    @property
    def text(self) -> str:
        return "\n".join(self.output)

    def find(self, event: str, *, since: int = 0, **fields: Any) -> list[Document]:
        """The events of that name and with these fields, from position `since` of the log."""
        return [
            seen
            for seen in self.events[since:]
            if seen.get("event") == event and all(seen.get(name) == value for name, value in fields.items())
        ]

    def count(self, event: str, **fields: Any) -> int:
        return len(self.find(event, **fields))

    async def event(self, name: str, *, since: int = 0, within: float = 30.0, **fields: Any) -> Document:
        """The first such event from position `since` of the log, waited for if need be."""
        await self.until(lambda: bool(self.find(name, since=since, **fields)), within, f"event {name} {fields or ''}")
        return self.find(name, since=since, **fields)[0]

    async def told(
        self, name: str, *, times: int = 1, since: int = 0, within: float = 30.0, **fields: Any
    ) -> list[Document]:
        """Such events, once there are so many; more of them fail. What was answered may be logged a moment later."""
        await self.until(lambda: len(self.find(name, since=since, **fields)) >= times, within, f"{times} of {name}")
        found = self.find(name, since=since, **fields)
        assert len(found) == times, found
        return found

    async def until(self, condition: Callable[[], bool], within: float, what: str) -> None:
        """Returns when `condition` holds; looked at whenever a line is printed. Fails at once when the daemon ends."""
        try:
            async with asyncio.timeout(within):
                while not condition():
                    if self._reader is not None and self._reader.done():
                        raise AssertionError(f"the daemon ended before: {what}\n{self.text[-4000:]}")
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"not within {within:g} s: {what}\n{self.text[-4000:]}") from None

    async def run(self, *arguments: str, within: float = 60.0) -> Finished:
        """One `litesup` command on this daemon's runtime directory."""
        return await run(
            [*arguments, "--runtime-dir", str(self.runtime_dir)], self.environment, self.folder, within=within
        )

    async def status(self) -> Document:
        finished = await self.run("status", "--json")
        assert finished.code == 0, finished.output
        return finished.document()

    async def replica(self, slot: int) -> Document:
        """The replica that fills the slot, as the status has it; the newest where two do."""
        document = await self.status()
        found = [entry for entry in document["replicas"] if entry["slot"] == slot]
        assert found, document
        newest: Document = max(found, key=lambda entry: int(entry["replica"]))
        return newest

    async def settled(self, within: float = 60.0) -> Document:
        """The status, once all that is wanted is ready, no roll-out is under way, and what was replaced is gone."""

        async def ready() -> Document | None:
            document = await self.status()
            rested = document["daemon"]["condition"] == "ready"
            return document if rested and len(document["replicas"]) == document["wanted_replicas"] else None

        return await eventually(ready, within=within, what="ready, and nothing but the wanted replicas", every=0.1)

    # What it leaves.

    def processes(self) -> list[psutil.Process]:
        """Every living process that carries this daemon's mark."""
        return marked_processes(self.mark)

    def sockets(self) -> list[Path]:
        if not self.runtime_dir.exists():
            return []
        return [path for path in self.runtime_dir.rglob("*") if path.is_socket()]

    def save(self, text: str) -> None:
        """Saves the configuration as most editors do: a new file beside it, renamed over it."""
        fresh = self.config.with_name(".litellm.config.yaml.new")
        fresh.write_text(text)
        fresh.replace(self.config)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            text = line.decode(errors="replace").rstrip("\n")
            self.output.append(text)
            if text.startswith("{"):
                with contextlib.suppress(ValueError):
                    self.events.append(json.loads(text))
            self._notify()
        await process.wait()
        asyncio.get_running_loop().call_soon(self._notify)

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def marked_processes(mark: str) -> list[psutil.Process]:
    """Every living process whose environment holds this mark; zombies do not count."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            marked = wanted in (entry / "environ").read_bytes().split(b"\0")
            process = psutil.Process(int(entry.name)) if marked else None
            if process is not None and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (OSError, psutil.NoSuchProcess):
            continue
    return found


def _address(listening: Sequence[str]) -> str:
    """The IPv4 address among those that the status names, as a URL."""
    for text in listening:
        found = re.search(r"127\.0\.0\.1:(\d+)", text)
        if found:
            return f"http://127.0.0.1:{found[1]}"
    raise AssertionError(f"no address in {listening!r}")
