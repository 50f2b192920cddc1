"""`litesup.yaml` as typed values: every setting, its default, its unit and its bounds.

Owns names and defaults, nothing else: reading files, environment and flags is `load`'s, and what a change means is
`diff`'s. Durations are seconds, sizes bytes. Every model is frozen and refuses names that it does not know.
"""

from __future__ import annotations

import enum
import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _number(value: object) -> object:
    """Refuses YAML's `yes` and `on` where a number is meant: Python would take them for 1."""
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value


def _several(value: object) -> object:
    """One value, or several with commas between them, is accepted where a list is meant."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _network(value: object) -> object:
    if isinstance(value, str):
        try:
            return ipaddress.ip_network(value)
        except ValueError as error:
            raise ValueError(f"should be a network such as 10.0.0.0/24: {error}") from None
    return value


def _file(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str) and value else value


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_number)]
SecondsOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_number)]
Count = Annotated[int, Field(ge=1), BeforeValidator(_number)]
CountOrZero = Annotated[int, Field(ge=0), BeforeValidator(_number)]
Port = Annotated[int, Field(ge=0, le=65535), BeforeValidator(_number)]
Networks = Annotated[tuple[Annotated[Network, BeforeValidator(_network)], ...], BeforeValidator(_several)]
Names = Annotated[tuple[str, ...], BeforeValidator(_several)]
File = Annotated[Path, BeforeValidator(_file)]


MOST_REPLICAS = 256
"""More on one machine is a slip of the finger: each takes some 60 MB of memory at least."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BalancingPolicy(enum.Enum):
    ROUND_ROBIN = "round_robin"
    LEAST_OUTSTANDING = "least_outstanding"


class LauncherChoice(enum.Enum):
    AUTO = "auto"
    FORK = "fork"
    PLAIN = "plain"


class LogFormat(enum.Enum):
    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


class LogLevel(enum.Enum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Balancer(Section):
    """The port that applications use."""

    host: Annotated[Names, Field(min_length=1)] = ("127.0.0.1", "::1")
    port: Port = 8000
    policy: BalancingPolicy = BalancingPolicy.ROUND_ROBIN
    slow_start: SecondsOrZero = 10.0  # in which the share of a replica that has become ready grows to a full one
    connect_timeout: Seconds = 2.0
    response_timeout: Seconds = 600.0  # from the request's last byte to the response's first, and between its chunks
    keepalive_timeout: Seconds = 75.0  # an idle client connection is closed after this
    idle_upstream_timeout: Seconds = 30.0  # a pooled connection to a replica is closed after this


class Admin(Section):
    """The operators' port: `/metrics` and `/status`."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 8001


class Limits(Section):
    """What clients may ask of the port, so that none keeps it from the others."""

    head_bytes: Annotated[Count, Field(ge=1024)] = 64 * 1024  # of a request line and its headers
    target_bytes: Annotated[Count, Field(ge=256)] = 16 * 1024
    body_bytes: CountOrZero = 0  # 0: bodies of any size
    head_timeout: Seconds = 10.0  # from a head's first byte to its last
    body_timeout: Seconds = 30.0  # in each such span a body must make progress
    connections: Count = 10_000
    connections_per_address: CountOrZero = 0  # 0: as many as there are


class Access(Section):
    """Who may connect, who may come without a credential, and whose `X-Forwarded-For` counts."""

    allow: Networks = ()  # empty: whoever can reach the port
    trusted: Networks | None = None  # None: loopback
    proxies: Networks = ()
    hosts: Names = ()  # names, beside IP addresses and localhost, that a keyless request may use as Host

    @property
    def trusted_networks(self) -> tuple[Network, ...]:
        if self.trusted is not None:
            return self.trusted
        return tuple(ipaddress.ip_network(text) for text in ("127.0.0.0/8", "::1/128", "::ffff:127.0.0.0/104"))


class Queue(Section):
    """Where requests wait while no replica can take them."""

    size: CountOrZero = 1000
    timeout: Seconds = 60.0


class Retry(Section):
    """What is kept of requests, so that they can be sent to another replica."""

    body_limit: CountOrZero = 8 * 1024 * 1024  # bytes of one request's body
    held_bytes: CountOrZero = 256 * 1024 * 1024  # bytes of all of them together


class Health(Section):
    """Probes of `/health/liveliness`, over a connection of their own."""

    interval: Seconds = 2.0  # from one probe's question to the next one's
    timeout: Seconds = 2.0
    give_up_after: Count = 3  # missed probes in a row, without a relayed byte between them
    kill_after: Seconds = 15.0  # without an answer and without a relayed byte


class Replicas(Section):
    """How replicas are started and stopped."""

    count: Annotated[Count, Field(le=MOST_REPLICAS)] | None = None  # None: one per usable core, at least two
    launcher: LauncherChoice = LauncherChoice.AUTO
    max_in_flight: Count | None = None  # requests that one replica works on; the others wait in the queue
    start_timeout: Seconds = 120.0  # from spawn to the first answer
    warm_up_timeout: Seconds = 10.0
    drain_timeout: Seconds = 600.0
    stop_timeout: Seconds = 30.0  # from TERM to KILL; LiteLLM flushes its books meanwhile

    @property
    def wanted(self) -> int:
        return self.count if self.count is not None else max(2, len(os.sched_getaffinity(0)))


class Recycle(Section):
    """When a replica is exchanged for a new one because it is worn out; the replacement first, one at a time."""

    private_memory: Annotated[Count, Field(ge=64 * 2**20)] | None = 2**30  # bytes that no other process shares
    requests: Count | None = None
    age: Seconds | None = None
    jitter: Annotated[float, Field(ge=0, lt=1), BeforeValidator(_number)] = 0.1  # the most that is taken off a limit


class Rollout(Section):
    settle: Seconds = 2.0  # how long the canary must stand, ready, without a crash or a failed probe
    watch: bool = True  # reload when a file that the configuration depends on changes
    debounce: Seconds = 0.3
    last_good: bool = False  # start the last good configuration where the one on disk cannot be started


class Restart(Section):
    """Backoff of a slot whose replica keeps ending early."""

    initial: Seconds = 1.0
    maximum: Seconds = 30.0
    maximum_when_short: Seconds = 1.0  # while fewer than wanted - 1 are ready
    early: Seconds = 10.0  # an exit within this after READY counts as early


class Stop(Section):
    drain: SecondsOrZero = 30.0  # for what is in flight to finish, before replicas are told to leave


class Logs(Section):
    format: LogFormat = LogFormat.AUTO
    level: LogLevel = LogLevel.INFO
    litellm_debug: bool = False  # LiteLLM's own --detailed_debug
    buffer_lines: Count = 10_000  # lines waiting for a slow sink before the oldest are dropped
    keep_lines: Count = 2_000  # lines that `litesup logs` can show again


class Settings(Section):
    """Everything that an operator can set."""

    config: File = Path("litellm.config.yaml")
    runtime_dir: File | None = None
    state_dir: File | None = None
    replicas: Replicas = Replicas()
    balancer: Balancer = Balancer()
    admin: Admin = Admin()
    limits: Limits = Limits()
    access: Access = Access()
    queue: Queue = Queue()
    retry: Retry = Retry()
    health: Health = Health()
    recycle: Recycle = Recycle()
    rollout: Rollout = Rollout()
    restart: Restart = Restart()
    stop: Stop = Stop()
    logs: Logs = Logs()


def schema_places(model: type[Section] = Settings, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The place of every setting, in the schema's order."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from schema_places(inner, (*prefix, name))
        else:
            yield (*prefix, name)
