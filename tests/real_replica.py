"""Replicas that are the real LiteLLM, without a daemon: launched, asked, and left."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp

from supervisor.fleet.launch.command import launch_spec
from supervisor.fleet.launch.spec import ExitStatus, Launcher, LaunchSpec, Process
from supervisor.fleet.launch.stub import WarmUpStub
from tests.eventually import eventually

MASTER_KEY = "sk-0f1e2d3c4b5a69788796a5b4"
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": os.environ.get("HOME", "/"),
    "LANG": "C.UTF-8",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_MASTER_KEY": MASTER_KEY,
    "OPENBLAS_NUM_THREADS": "1",
}
MOCKED = {
    "model_list": [
        {"model_name": "gpt-4", "litellm_params": {"model": "openai/gpt-4o", "api_key": "x", "mock_response": "hello"}}
    ]
}


@dataclasses.dataclass
class Replica:
    """One that runs, and its lines so far."""

    spec: LaunchSpec
    process: Process
    session: aiohttp.ClientSession
    lines: list[str]

    async def ask(self, method: str, path: str, body: object = None, key: str = MASTER_KEY) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {key}"}
        async with self.session.request(method, f"http://replica{path}", json=body, headers=headers) as response:
            return response.status, await response.read()

    async def chat(self, model: str = "gpt-4", *, stream: bool = False) -> bytes:
        """A chat completion that is expected to succeed."""
        messages = [{"role": "user", "content": "ping"}]
        status, answer = await self.ask(
            "POST", "/chat/completions", {"model": model, "stream": stream, "messages": messages}
        )
        assert status == 200, (status, answer, self.lines[-20:])
        return answer

    async def ready(self) -> None:
        ended = asyncio.ensure_future(self.process.wait())

        async def answers() -> bool | None:
            assert not ended.done(), f"the replica ended: {ended.result()}"
            with contextlib.suppress(aiohttp.ClientError):
                return (await self.ask("GET", "/health/liveliness"))[0] == 200
            return False

        try:
            answered: bool = await eventually(answers, within=60, what="an answer of the replica", every=0.005)
            assert answered
        finally:
            ended.cancel()

    async def stop(self) -> ExitStatus:
        self.process.terminate()
        async with asyncio.timeout(30):
            return await self.process.wait()


class Replicas:
    """Launches replicas on one configuration in `directory`, with a warm-up stub of their own."""

    def __init__(self, launcher: Launcher, directory: Path, config: Mapping[str, Any] = MOCKED) -> None:
        self.launcher = launcher
        self.directory = directory
        self.stub = WarmUpStub()
        self.config_path = directory / "rendered.yaml"
        self.config_path.write_text(json.dumps(config), encoding="utf-8")
        self._count = 0
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self.stub.start()
        self._stack.push_async_callback(self.stub.close)
        self._stack.push_async_callback(self.launcher.close)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def spec(self, environment: Mapping[str, str] | None = None, *, warm: bool = True) -> LaunchSpec:
        self._count += 1
        return launch_spec(
            replica=self._count,
            slot=0,
            config_path=self.config_path,
            environment={**ENVIRONMENT, **(environment or {})},
            directory=self.directory,
            socket_path=self.directory / f"{self._count}.sock",
            stub_url=self.stub.url_for(self._count) if warm else None,
        )

    async def launch(self, spec: LaunchSpec) -> Replica:
        process = await self.launcher.launch(spec)
        replica = Replica(
            spec, process, aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(spec.socket_path))), []
        )
        reading = asyncio.ensure_future(_read(process, replica.lines))
        self._stack.push_async_callback(_end, replica, reading)
        return replica

    async def ready(self, environment: Mapping[str, str] | None = None, *, warm: bool = True) -> Replica:
        """A new replica that answers, and has warmed up if it was to."""
        replica = await self.launch(self.spec(environment, warm=warm))
        try:
            await replica.ready()
        except BaseException:
            print("\n".join(replica.lines), file=sys.stderr)
            raise
        if warm:
            reason = await self.stub.wait_warm(replica.spec.replica, 30)
            assert reason is None, reason
        return replica


async def _read(process: Process, lines: list[str]) -> None:
    async for line in process.output():
        lines += [line]


async def _end(replica: Replica, reading: asyncio.Future[None]) -> None:
    await replica.session.close()
    replica.process.kill()
    async with asyncio.timeout(30):
        await replica.process.wait()
        await reading


@contextlib.asynccontextmanager
async def replicas(launcher: Launcher, directory: Path, config: Mapping[str, Any] = MOCKED) -> AsyncIterator[Replicas]:
    async with Replicas(launcher, directory, config) as made:
        yield made
