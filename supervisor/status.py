"""What is so: the one status document.

`litesup status --json`, the admin port's `/status` and the metrics all say these things in these words. Its values are
immutable snapshots; a reader may be a moment late, so nothing decides by them. Times are Unix seconds (UTC),
durations seconds, sizes bytes. Adding a field is compatible; anything else raises `VERSION`.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import Any

VERSION = 1


class Condition(enum.Enum):
    """The pool in one word."""

    STARTING = "starting"  # no replica has been ready yet
    READY = "ready"  # as many ready replicas as wanted, all of the wanted generation
    DEGRADED = "degraded"  # at least one is ready, fewer than wanted
    ROLLING = "rolling"  # enough are ready, a roll-out is under way
    UNAVAILABLE = "unavailable"  # none is ready, though one was
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    pid: int
    version: str
    litellm_version: str  # of the generation that serves
    condition: Condition
    started_at: float
    uptime_seconds: float
    runtime_dir: str
    config: str
    launcher: str  # "fork" or "plain"
    launcher_note: str  # why it is not what was asked for or not as fast as it could be, or ""


@dataclass(frozen=True, slots=True)
class GenerationStatus:
    """What is wanted, what was last good, and what was refused."""

    wanted: str
    last_good: str | None
    failed: tuple[str, ...]
    rolling: bool
    reason: str  # why the wanted generation is wanted: "start", "file changed", "reload", …
    since: float
    refused_at: float | None  # when the configuration on disk was last refused, while it still is
    refused: tuple[str, ...]  # the problems, one text each
    running: str = ""  # what proved good and serves; another one than `wanted` while that is on trial
    on_disk: str = ""  # what the files describe; "" while they are refused
    note: str = ""  # why what serves is not what is on disk, where it is out of the history
    difference: tuple[str, ...] = ()  # from what serves to what is on disk: a unified diff without secrets
    history_note: str = ""  # why what serves is not kept in the history, or ""


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    slot: int
    replica: int
    pid: int | None
    state: str
    generation: str
    ready_since: float | None
    in_flight: int
    rss_bytes: int | None
    private_bytes: int | None  # what it shares with no other process, as of the last look at it
    restarts: int
    last_exit: str | None
    note: str  # "crash-looping: next try in 8 s", "draining: roll-out", or ""


@dataclass(frozen=True, slots=True)
class BalancerStatus:
    listening: tuple[str, ...]
    policy: str
    in_flight: int
    waiting: int
    requests: int
    failed: int
    held_bytes: int = 0  # of request bodies, kept for another replica
    clients: int = 0  # connections that are open, with a request or without
    idle_upstream: int = 0  # connections to replicas, kept for the next request
    turned_away: int = 0  # connections closed without an answer, because even the places beyond the limit were taken


@dataclass(frozen=True, slots=True)
class SettingsStatus:
    """`litesup.yaml`: what of it is not in force, and why."""

    file: str = ""  # "" where there is none
    needs_restart: tuple[str, ...] = ()  # as "balancer.port (8000 → 8080)"
    refused_at: float | None = None  # while it is refused, and the settings before are in force
    refused: tuple[str, ...] = ()  # the problems, one text each


@dataclass(frozen=True, slots=True)
class Status:
    daemon: DaemonStatus
    generation: GenerationStatus
    wanted_replicas: int
    ready_replicas: int
    replicas: tuple[ReplicaStatus, ...]
    balancer: BalancerStatus
    settings: SettingsStatus = SettingsStatus()
    version: int = VERSION

    def as_json(self) -> dict[str, Any]:
        """The document as JSON-ready values; enum members become their text."""
        document: dict[str, Any] = dataclasses.asdict(
            self, dict_factory=lambda pairs: {k: v.value if isinstance(v, enum.Enum) else v for k, v in pairs}
        )
        return document
