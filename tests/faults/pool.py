"""A daemon over replicas that are not LiteLLM, with short patience, and what clients say to it byte by byte."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.daemon import ROOT, Daemon, Document
from tests.eventually import eventually
from tests.load import Load
from tests.wire import CHAT, Client, Message

BODY = b'{"model": "gpt-4", "messages": []}'
STREAM = b'{"model": "gpt-4", "messages": [], "stream": true}'
PATIENCE = float(
    os.environ.get("TEST_PATIENCE", "60")
)  # seconds; what takes longer has failed, on however busy a machine

SETTINGS: Document = {
    "replicas": {"warm_up_timeout": 0.01, "start_timeout": 5.0, "drain_timeout": 5.0, "stop_timeout": 1.0},
    "health": {"interval": 0.2, "timeout": 0.5, "kill_after": 2.0},
    "balancer": {"response_timeout": 4.0, "slow_start": 0},
    "limits": {"head_timeout": 1.0, "body_timeout": 1.0},
    "queue": {"timeout": PATIENCE},
    "rollout": {"settle": 0.1, "debounce": 0.05},
    "restart": {"initial": 0.1, "maximum": 0.5, "early": 2.0},
    "stop": {"drain": 5.0},
}


def config(model: str = "gpt-4", **environment: str) -> str:
    """A configuration; `environment` is what its replicas find in theirs."""
    document: Document = {
        "model_list": [{"model_name": model, "litellm_params": {"model": "openai/x", "api_key": "k"}}]
    }
    if environment:
        document["environment_variables"] = environment
    return json.dumps(document)


async def comes_true(check: Callable[[], Awaitable[bool]], what: str) -> None:
    """Returns when it is so."""

    async def word() -> str | None:
        return "yes" if await check() else None

    said: str = await eventually(word, within=PATIENCE, what=what)
    assert said


class FaultPool(Daemon):
    """`settings` are by section, beside SETTINGS. `before` is a command that starts the daemon's, as `nice` does."""

    def __init__(
        self,
        text: str | None = None,
        *,
        count: int = 2,
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        own = {name: {**SETTINGS.get(name, {}), **section} for name, section in (settings or {}).items()}
        without = {name: value for name, value in os.environ.items() if name == "TEST_WITHOUT"}
        super().__init__(
            config() if text is None else text,
            replicas=count,
            settings={**SETTINGS, **own},
            environment={"PYTHONPATH": str(ROOT), **without, **(environment or {})},
        )
        self.command = [*before, sys.executable, "-m", "tests.faults.program"]

    async def listens(self) -> None:
        """Returns when the address is known, whatever replicas do."""
        self._url = f"http://{(await self.event('daemon_started'))['listening'][0]}"

    async def status(self) -> Document:
        document: Document = await self.admin("/status")
        return document

    async def admin(self, path: str) -> Any:
        """What the operators' port says, which costs less than a command."""
        async with aiohttp.ClientSession() as session, session.get(self.admin_url + path) as response:
            return await response.json() if path == "/status" else await response.text()

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.pid)

    @property
    def settings_file(self) -> Path:
        return self.folder / "litesup.yaml"

    async def holds(self, number: int) -> None:
        """Returns when so many requests are in flight."""

        async def so_many() -> bool:
            return bool((await self.status())["balancer"]["in_flight"] == number)

        await comes_true(so_many, f"{number} requests in flight")

    async def pids(self) -> set[int]:
        return {entry["pid"] for entry in (await self.status())["replicas"]}

    def load(self, clients: int = 4, **options: Any) -> Load:
        return Load(self.url, clients=clients, seconds=PATIENCE, patience=PATIENCE, **options)

    def stop_reading(self) -> None:
        """What it prints stays in its pipe, until that is full."""
        self._pipe.pause_reading()
        if self._reader is not None:
            self._reader.cancel()

    def go_on_reading(self) -> None:
        self._pipe.resume_reading()
        self._reader = asyncio.create_task(self._read(self._running))

    @property
    def _pipe(self) -> asyncio.ReadTransport:
        transport: Any = self._running._transport  # type: ignore[attr-defined]
        pipe: asyncio.ReadTransport = transport.get_pipe_transport(1)
        return pipe

    # Byte by byte.

    async def connect(self) -> Client:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return Client(*await asyncio.open_connection(host, int(port), limit=2**20))

    async def begin(self, headers: Mapping[str, str] | None = None, body: bytes = BODY, target: str = CHAT) -> Client:
        """A client that has sent a request and not read anything."""
        client = await self.connect()
        await client.send("POST", target, dict(headers or {}), body)
        return client

    async def ask(
        self, headers: Mapping[str, str] | None = None, body: bytes = BODY, target: str = CHAT, method: str = "POST"
    ) -> Message:
        """One request over a connection of its own, and its answer. Raises IncompleteReadError for one that is cut."""
        client = await self.connect()
        try:
            async with asyncio.timeout(PATIENCE):
                return await client.ask(method, target, dict(headers or {}), b"" if method == "GET" else body)
        finally:
            client.leave()
