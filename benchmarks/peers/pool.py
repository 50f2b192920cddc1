"""What every side can do, and what all sides have in common: the configuration, the environment, the provider.

A side's bytecode, packages and Python are those of this process. Each has a folder of its own, and its output goes
into files there.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import aiohttp
import psutil

from benchmarks.peers.program import POLL
from tests.daemon import clean_environment, free_port

WORKERS = 3
START_WITHIN = 90.0  # seconds; on two cores it takes up to 20
FAST, PACED = "gpt-4", "gpt-4-paced"

_MODEL = """\
  - model_name: {name}
    litellm_params:
      model: azure/gpt-4o-2024-08-06
      api_base: {url}/
      api_version: "2024-08-01-preview"
      api_key: os.environ/AZURE_OPENAI_API_KEY
"""


def config_text(provider: str, more: Sequence[str] = ()) -> str:
    """LiteLLM's YAML: a model that answers at once, one that takes its time, and those that were added since."""
    models = {FAST: provider, PACED: f"{provider}/paced"} | dict.fromkeys(more, provider)
    listed = "".join(_MODEL.format(name=name, url=url) for name, url in models.items())
    return f"model_list:\n{listed}\nlitellm_settings:\n  drop_params: True\n"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pool runs, and which provider it has. `key` is what its clients send."""

    folder: Path
    provider: str
    key: str = field(default_factory=lambda: f"sk-{secrets.token_hex(24)}", repr=False)
    port: int = field(default_factory=free_port)

    @property
    def config(self) -> Path:
        return self.folder / "litellm.config.yaml"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    @property
    def environment(self) -> dict[str, str]:
        return clean_environment(self.folder) | {
            "AZURE_OPENAI_API_KEY": "the-azure-key",
            "LITELLM_MASTER_KEY": self.key,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MODE": "PRODUCTION",
        }

    def save(self, more: Sequence[str] = ()) -> None:
        """Renamed into place, as editors do."""
        fresh = self.folder / ".litellm.config.yaml.new"
        fresh.write_text(config_text(self.provider, more))
        fresh.replace(self.config)

    def litellm(self, *arguments: str) -> list[str]:
        """LiteLLM's own command."""
        return [str(Path(sys.executable).with_name("litellm")), "--config", str(self.config), *arguments]


@dataclass(frozen=True, slots=True)
class Boot:
    """Seconds from the start: to the first 200 of `GET /health/readiness` on the pool's port, and to all of it.

    All of it is every replica READY and warm for litesup, and every worker or process having started for the others,
    none of which warms up.
    """

    answered: float
    ready: float


class Pool(ABC):
    """Three LiteLLMs behind one port."""

    side: ClassVar[str]

    def __init__(self, place: Place) -> None:
        self.place = place
        self._added: list[str] = []

    async def start(self) -> Boot:
        """Returns when all of it serves."""
        self.place.save()
        begun = time.perf_counter()
        answering = asyncio.create_task(seconds_until_ready(self.place.url, begun))
        try:
            await self._start()
            ready = time.perf_counter() - begun
            return Boot(answered=await answering, ready=ready)
        finally:
            answering.cancel()

    async def recover(self) -> float:
        """Seconds from `kill -9` of the LiteLLM that has run for longest until there are as many again as before.

        As in `Boot`: READY and warm with litesup, started elsewhere.
        """
        workers = self.workers()
        if len(workers) != WORKERS:
            raise RuntimeError(f"{self.side} has {len(workers)} LiteLLMs: {workers}")
        victim = min(workers, key=lambda pid: psutil.Process(pid).create_time())
        returned = self._return_of(victim)
        begun = time.perf_counter()
        psutil.Process(victim).kill()
        await returned()
        return time.perf_counter() - begun

    async def reload(self) -> tuple[str, float]:
        """A model added to the YAML: its name, and the seconds until all of the pool knows it."""
        name = f"gpt-4-added-{len(self._added) + 1}"
        self._added.append(name)
        begun = time.perf_counter()
        self.place.save(self._added)
        await self._reload()
        return name, time.perf_counter() - begun

    @abstractmethod
    async def stop(self) -> None:
        """Nothing of it is left afterwards, whatever state it was in."""

    @abstractmethod
    def processes(self) -> list[psutil.Process]:
        """All that was started for it: workers, masters, daemons, balancers."""

    @abstractmethod
    def workers(self) -> list[int]:
        """The process numbers of the LiteLLMs that serve."""

    @abstractmethod
    async def _start(self) -> None:
        """Starts it, and returns when all of it serves."""

    @abstractmethod
    def _return_of(self, victim: int) -> Callable[[], Awaitable[None]]:
        """Called before the kill; what it gives returns once the replacement serves."""

    @abstractmethod
    async def _reload(self) -> None:
        """Makes it take up the file that was saved, by the means that it has; returns when all of it has."""


async def seconds_until_ready(url: str, begun: float) -> float:
    await ready(url)
    return time.perf_counter() - begun


async def ready(url: str, within: float = START_WITHIN) -> None:
    """Returns at the first 200 of `GET /health/readiness`."""
    async with asyncio.timeout(within), aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{url}/health/readiness") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(POLL)


@contextlib.asynccontextmanager
async def started(make: Callable[[Place], Pool], provider: str) -> AsyncIterator[tuple[Pool, Boot]]:
    """A pool from its start to its end, in a folder that lasts as long."""
    folder = Path(tempfile.mkdtemp(prefix="ls-bench-"))
    pool = make(Place(folder, provider))
    try:
        yield pool, await pool.start()
    finally:
        await pool.stop()
        shutil.rmtree(folder, ignore_errors=True)
