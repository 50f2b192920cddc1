"""litesup, run as the others are: its output in a file, the same environment. With its default settings, and once with
another way of choosing replicas."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

import psutil
import yaml

from benchmarks.peers.pool import START_WITHIN, WORKERS, Place, Pool
from benchmarks.peers.program import Program
from tests.command import command
from tests.daemon import free_port

READY = '"event": "replica_ready"'
ROLLED = '"event": "rollout_completed"'


class Litesup(Pool):
    side = "litesup"
    balancer: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        settings = place.folder / "litesup.yaml"
        document = {
            "state_dir": str(place.folder / "state"),
            "admin": {"port": free_port()},
            "balancer": dict(self.balancer),
            "logs": {"format": "json"},
        }
        settings.write_text(yaml.safe_dump(document))
        line = [
            *command(),
            "start",
            *("--config", str(place.config), "--settings", str(settings), "--replicas", str(WORKERS)),
            *("--host", "127.0.0.1", "--port", str(place.port), "--runtime-dir", str(place.folder / "run")),
        ]
        self.daemon = Program(self.side, line, place.folder, place.environment)

    async def stop(self) -> None:
        await self.daemon.stop()

    def processes(self) -> list[psutil.Process]:
        return self.daemon.processes()

    def workers(self) -> list[int]:
        children = psutil.Process(self.daemon.pid).children()
        return sorted(child.pid for child in children if child.name().startswith("litesup-r"))

    async def _start(self) -> None:
        await self.daemon.start()
        await self._logged(READY, 0, WORKERS)

    def _return_of(self, victim: int) -> Callable[[], Awaitable[None]]:
        since = len(self.daemon.log.lines())
        return lambda: self._logged(READY, since, 1)

    async def _reload(self) -> None:
        """Nothing is to be done: it watches the file."""
        await self._logged(ROLLED, len(self.daemon.log.lines()), 1)

    async def _logged(self, what: str, since: int, times: int) -> None:
        await self.daemon.until(
            lambda: self.daemon.log.count(what, since) >= times, START_WITHIN, f"{times} times {what}"
        )


class LeastOutstanding(Litesup):
    """A request goes to the replica with the fewest in flight, among equals to the one that was asked last."""

    side = "litesup:least"
    balancer: ClassVar[Mapping[str, Any]] = {"policy": "least_outstanding"}
