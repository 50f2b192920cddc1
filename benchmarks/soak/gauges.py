"""What a daemon takes: memory, descriptors, tasks, and what it has left in its directories, seen from outside."""

from __future__ import annotations

import time
from dataclasses import dataclass

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.daemon import Daemon

MIB = 2.0**20


@dataclass(frozen=True, slots=True)
class Memory:
    """`at` is seconds since the soak began; sizes are in MiB."""

    at: float
    uss: float
    rss: float


@dataclass(frozen=True, slots=True)
class Rest:
    """What there is when nothing is asked. `at` is seconds since the soak began; sizes are in MiB."""

    at: float
    uss: float
    rss: float
    descriptors: int
    threads: int
    tasks: int
    clients: int
    idle_upstream: int
    in_flight: int
    waiting: int
    held_bytes: int
    processes: int  # of the daemon's, itself included
    sockets: int
    runtime_files: int
    state_files: int


MUST_BE_NOTHING = ("clients", "idle_upstream", "in_flight", "waiting", "held_bytes")
MUST_NOT_GROW = {
    "descriptors": 2.0,
    "threads": 2.0,
    "tasks": 2.0,
    "processes": 0.5,
    "sockets": 0.5,
    "runtime_files": 6.0,
}
"""By how much each may rise over the second half: the noise of a moment, not of an hour.

Rendered configurations, two files each, stay until the next change is rendered.
"""


def memory(pid: int, since: float) -> Memory:
    full = psutil.Process(pid).memory_full_info()
    return Memory(time.monotonic() - since, full.uss / MIB, full.rss / MIB)


async def rest(daemon: Daemon, since: float) -> Rest:
    async with aiohttp.ClientSession() as session, session.get(f"{daemon.admin_url}/metrics") as response:
        told = {
            sample.name: sample.value
            for family in text_string_to_metric_families(await response.text())
            for sample in family.samples
            if not sample.labels
        }
    process = psutil.Process(daemon.pid)
    taken = memory(daemon.pid, since)
    return Rest(
        at=taken.at,
        uss=taken.uss,
        rss=taken.rss,
        descriptors=process.num_fds(),
        threads=process.num_threads(),
        tasks=int(told["litesup_tasks"]),
        clients=int(told["litesup_client_connections"]),
        idle_upstream=int(told["litesup_upstream_connections_idle"]),
        in_flight=int(told["litesup_requests_in_flight"]),
        waiting=int(told["litesup_requests_waiting"]),
        held_bytes=int(told["litesup_held_bytes"]),
        processes=len(daemon.processes()),
        sockets=len(daemon.sockets()),
        runtime_files=sum(1 for _ in daemon.runtime_dir.rglob("*")),
        state_files=sum(1 for _ in daemon.state_dir.rglob("*")),
    )
