"""A daemon's operations without a daemon: what was asked is noted, what is answered is given beforehand."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator

from supervisor.control.operations import HistoryEntry, LogLine, ReloadOutcome, ReloadResult
from supervisor.status import (
    BalancerStatus,
    Condition,
    DaemonStatus,
    GenerationStatus,
    ReplicaStatus,
    Status,
)

NOW = 1_800_000_000.0


def replica_status(slot: int, **changes: object) -> ReplicaStatus:
    plain = ReplicaStatus(
        slot=slot,
        replica=slot + 10,
        pid=4000 + slot,
        state="ready",
        generation="3f2a91bc01d2",
        ready_since=NOW - 3700,
        in_flight=slot,
        rss_bytes=58 * 2**20,
        private_bytes=48 * 2**20,
        restarts=0,
        last_exit=None,
        note="",
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def pool_status(condition: Condition = Condition.READY, replicas: tuple[ReplicaStatus, ...] | None = None) -> Status:
    shown = replicas if replicas is not None else tuple(replica_status(slot) for slot in (1, 2, 3))
    return Status(
        daemon=DaemonStatus(
            pid=3999,
            version="0.1.0",
            litellm_version="1.106.2",
            condition=condition,
            started_at=NOW - 3705,
            uptime_seconds=3705.0,
            runtime_dir="/run/litesup",
            config="/etc/litesup/litellm.config.yaml",
            launcher="fork",
            launcher_note="",
        ),
        generation=GenerationStatus(
            wanted="3f2a91bc01d2",
            last_good="3f2a91bc01d2",
            failed=(),
            rolling=False,
            reason="start",
            since=NOW - 3705,
            refused_at=None,
            refused=(),
        ),
        wanted_replicas=3,
        ready_replicas=sum(1 for replica in shown if replica.state == "ready"),
        replicas=shown,
        balancer=BalancerStatus(
            listening=("http://127.0.0.1:8000", "http://[::1]:8000"),
            policy="round_robin",
            in_flight=6,
            waiting=0,
            requests=1200,
            failed=2,
        ),
    )


class ScriptedOperations:
    """Implements `Operations`. An exception in `failures` is raised by the operation of that name."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.failures: dict[str, Exception] = {}
        self.answer = pool_status()
        self.outcome = ReloadOutcome(ReloadResult.ROLLED, "aaaabbbbcccc")
        self.kept: tuple[HistoryEntry, ...] = ()
        self.lines: list[LogLine] = []
        self.hold: asyncio.Event | None = None  # operations that wait do not end before it is set
        self.completed: list[str] = []
        self.followers = 0
        self.stopped = threading.Event()  # for whoever plays the end of the daemon in another thread
        self.followed = threading.Event()

    async def _do(self, *asked: object) -> None:
        self.asked.append(asked)
        if self.hold is not None:
            await self.hold.wait()
        if asked[0] in self.failures:
            raise self.failures[str(asked[0])]
        self.completed.append(str(asked[0]))

    def status(self) -> Status:
        if "status" in self.failures:
            raise self.failures["status"]
        return self.answer

    async def reload(self, *, wait: bool) -> ReloadOutcome:
        await self._do("reload", wait)
        return self.outcome

    async def rollback(self, digest: str | None, *, wait: bool) -> ReloadOutcome:
        await self._do("rollback", digest, wait)
        return self.outcome

    async def history(self) -> tuple[HistoryEntry, ...]:
        await self._do("history")
        return self.kept

    async def restart(self, slots: tuple[int, ...]) -> tuple[int, ...]:
        await self._do("restart", slots)
        return slots or (1, 2, 3)

    async def scale(self, count: int) -> None:
        await self._do("scale", count)

    async def drain(self, slot: int) -> None:
        await self._do("drain", slot)

    async def stop(self) -> None:
        await self._do("stop")
        self.stopped.set()

    async def log_lines(self, slots: tuple[int, ...], *, follow: bool) -> AsyncIterator[LogLine]:
        self.followers += 1
        try:
            for line in self.lines:
                if not slots or line.slot in slots:
                    yield line
            self.followed.set()
            while follow:
                await asyncio.Event().wait()
        finally:
            self.followers -= 1
