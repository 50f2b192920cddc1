"""Does to a running pool what the schedule says, by the means that an operator, or a bad day, has.

Owns what may be left half done: processes that were stopped, a file that is broken, a count that is not the usual one.
`repair` puts all of that right.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import yaml

from benchmarks.soak.schedule import Deed, Step
from tests.daemon import GUIDE, Daemon, Document

SERVING = frozenset({"ready", "suspect"})
USUAL = 3
MOST = 5

CRASHES = """\
import os
import threading

from litellm.integrations.custom_logger import CustomLogger


class Dies(CustomLogger):
    pass


instance = Dies()
timer = threading.Timer(1.0, os._exit, [7])
timer.daemon = True
timer.start()
"""


@dataclass(frozen=True, slots=True)
class Done:
    """What was done, from when to when in Unix seconds, and to whom."""

    deed: Deed
    begun: float
    ended: float
    detail: str


class Chaos:
    """One pool and its bad day."""

    def __init__(self, daemon: Daemon, *, url: str) -> None:
        self.done: list[Done] = []
        self.killed: set[int] = set()  # replicas, by their number
        self.stopped: set[int] = set()  # the same, also of those that go on since
        self._daemon = daemon
        self._url = url
        self._numbers = itertools.count(1)
        self._good = GUIDE.format(url=url)
        self._stopped: set[int] = set()
        (daemon.folder / "dies.py").write_text(CRASHES)

    async def do(self, step: Step) -> None:
        begun = time.time()
        detail = await DEEDS[step.deed](self, random.Random(step.draw))
        self.done.append(Done(step.deed, begun, time.time(), detail))

    async def repair(self) -> None:
        """As an operator would leave it: a good file, the usual count, everything running."""
        for pid in tuple(self._stopped):
            self._signal(pid, signal.SIGCONT)
        self._save_good()
        await self._command("scale", str(USUAL))
        await self._command("reload", "--wait", within=120.0)

    # Replicas.

    async def kill(self, source: random.Random, number: int = 1) -> str:
        """What is stopped is left to litesup, unless all are to go."""
        serving = [each for each in await self._serving() if number >= MOST or each["pid"] not in self._stopped]
        victims = source.sample(serving, min(number, len(serving)))
        for victim in victims:
            self.killed.add(victim["replica"])
            self._signal(victim["pid"], signal.SIGKILL)
        return _named(victims)

    async def stop(self, source: random.Random, seconds: float) -> str:
        serving = await self._serving()
        if not serving:
            return "nobody serves"
        victim = source.choice(serving)
        self.stopped.add(victim["replica"])
        await self._hold(victim["pid"], seconds)
        return f"{_named([victim])} for {seconds:.1f} s"

    async def fork_server(self, source: random.Random, number: signal.Signals) -> str:
        pids = [event["pid"] for event in self._daemon.find("fork_server_started")]
        running = [pid for pid in pids if any(process.pid == pid for process in self._daemon.processes())]
        if not running:
            return "none runs"
        if number is signal.SIGKILL:
            self._signal(running[-1], number)
        else:
            await self._hold(running[-1], source.uniform(0.5, 3.0))
        return f"pid {running[-1]}"

    # Files.

    async def reload(self, source: random.Random) -> str:
        model = f"extra-{next(self._numbers)}"
        self._good = GUIDE.format(url=self._url).replace("litellm_settings:", _model(model, self._url), 1)
        self._save_good()
        return model

    async def reload_twice(self, source: random.Random) -> str:
        first = await self.reload(source)
        await asyncio.sleep(source.uniform(0.2, 4.0))
        return f"{first}, {await self.reload(source)}"

    async def reload_and_kill(self, source: random.Random) -> str:
        model = await self.reload(source)
        await asyncio.sleep(source.uniform(0.5, 5.0))
        return f"{model}, {await self.kill(source)}"

    async def bad_change(self, source: random.Random, changes: Sequence[tuple[str, str]]) -> str:
        old, new = source.choice(changes)
        self._daemon.save(self._good.replace(old, new, 1))
        await asyncio.sleep(source.uniform(1.0, 6.0))
        self._save_good()
        return new.splitlines()[0]

    async def environment(self, source: random.Random) -> str:
        place = f"/etc/ssl/certs-{next(self._numbers)}"
        fresh = f"environment_variables:\n  SSL_CERT_DIR: {place}\n"
        self._good = GUIDE.format(url=self._url).replace("environment_variables:\n", fresh, 1)
        self._save_good()
        return place

    async def settings(self, source: random.Random) -> str:
        path = self._daemon.folder / "litesup.yaml"
        document = yaml.safe_load(path.read_text())
        document["queue"] = {"size": source.randint(900, 1000)}
        fresh = path.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(document))
        fresh.replace(path)
        return f"queue.size {document['queue']['size']}"

    async def hang_up(self, source: random.Random) -> str:
        os.kill(self._daemon.pid, signal.SIGHUP)
        return ""

    # Commands.

    async def rollback(self, source: random.Random) -> str:
        return await self._command("rollback")

    async def scale(self, source: random.Random, low: int, high: int) -> str:
        count = source.randint(low, high)
        await self._command("scale", str(count))
        await asyncio.sleep(source.uniform(0.5, 5.0))
        await self._command("scale", str(USUAL))
        return str(count)

    async def restart(self, source: random.Random) -> str:
        return await self._command("restart", *source.choice([(), ("1",), ("2", "3")]), within=120.0)

    async def drain(self, source: random.Random) -> str:
        return await self._command("drain", str(source.randint(1, USUAL)))

    async def look_on(self, source: random.Random) -> str:
        """A control client that never says goodbye."""
        following = asyncio.create_task(self._daemon.run("logs", "-f", within=source.uniform(1.0, 3.0)))
        with contextlib.suppress(TimeoutError):
            await following
        return ""

    # Inside.

    async def _command(self, *arguments: str, within: float = 60.0) -> str:
        """What it said: that it may not be done just now is an answer too."""
        finished = await self._daemon.run(*arguments, within=within)
        return f"exit {finished.code}"

    async def _serving(self) -> list[Document]:
        async with aiohttp.ClientSession() as session, session.get(f"{self._daemon.admin_url}/status") as response:
            document = await response.json()
        return [entry for entry in document["replicas"] if entry["state"] in SERVING]

    async def _hold(self, pid: int, seconds: float) -> None:
        self._stopped.add(pid)
        self._signal(pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._signal(pid, signal.SIGCONT)
        self._stopped.discard(pid)

    def _signal(self, pid: int, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def _save_good(self) -> None:
        self._daemon.save(self._good)


def _named(victims: Sequence[Document]) -> str:
    return ", ".join(f"slot {victim['slot']} (replica {victim['replica']})" for victim in victims) or "nobody serves"


def _model(name: str, url: str) -> str:
    return f"""\
  - model_name: {name}
    litellm_params:
      model: gpt-4o-2024-08-06
      api_base: {url}/
      api_version: "2024-08-01-preview"
      api_key: ${{AZURE_OPENAI_API_KEY}}

litellm_settings:"""


TYPOS = (
    ("litellm_params:", "litellm_params"),
    ("${AZURE_OPENAI_API_KEY}", "${NOT_SET_ANYWHERE}"),
    ("litellm_settings:", "litellm_settings: {"),
)
FATAL = (("drop_params: True", "callbacks: dies.instance"), ("drop_params: True", "callbacks: nowhere.instance"))

DEEDS: Mapping[Deed, Callable[[Chaos, random.Random], Coroutine[Any, Any, str]]] = {
    Deed.KILL: Chaos.kill,
    Deed.KILL_TWO: lambda chaos, source: chaos.kill(source, 2),
    Deed.KILL_ALL: lambda chaos, source: chaos.kill(source, MOST),
    Deed.STOP_BRIEFLY: lambda chaos, source: chaos.stop(source, source.uniform(0.2, 3.0)),
    Deed.STOP_LONG: lambda chaos, source: chaos.stop(source, source.uniform(5.0, 11.0)),
    Deed.STOP_FOR_GOOD: lambda chaos, source: chaos.stop(source, 25.0),
    Deed.KILL_FORK_SERVER: lambda chaos, source: chaos.fork_server(source, signal.SIGKILL),
    Deed.STOP_FORK_SERVER: lambda chaos, source: chaos.fork_server(source, signal.SIGSTOP),
    Deed.RELOAD: Chaos.reload,
    Deed.RELOAD_TWICE: Chaos.reload_twice,
    Deed.RELOAD_AND_KILL: Chaos.reload_and_kill,
    Deed.BROKEN: lambda chaos, source: chaos.bad_change(source, TYPOS),
    Deed.CRASHES: lambda chaos, source: chaos.bad_change(source, FATAL),
    Deed.ENVIRONMENT: Chaos.environment,
    Deed.ROLLBACK: Chaos.rollback,
    Deed.HANGUP: Chaos.hang_up,
    Deed.SETTINGS: Chaos.settings,
    Deed.SCALE_UP: lambda chaos, source: chaos.scale(source, USUAL + 1, MOST),
    Deed.SCALE_DOWN: lambda chaos, source: chaos.scale(source, 1, USUAL - 1),
    Deed.RESTART: Chaos.restart,
    Deed.DRAIN: Chaos.drain,
    Deed.LOOK_ON: Chaos.look_on,
}
