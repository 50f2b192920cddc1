"""What every request finds: the parts that it goes through, and the rules that are in force. Values."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from supervisor.balancer.held import HeldBytes
from supervisor.balancer.pool import Pool
from supervisor.events import Events
from supervisor.policy.access import AccessRules
from supervisor.rotation import Rotation
from supervisor.status import Status


@dataclass(slots=True, eq=False)
class Counters:
    """What the balancer counts itself; `failed` are those that a replica should have answered and did not."""

    in_flight: int = 0
    requests: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every exchange uses. Times are in seconds; `body_limit` is what is held of one body, in bytes."""

    rotation: Rotation
    pool: Pool
    rules: AccessRules
    events: Events
    health: Callable[[], Status]
    counters: Counters
    response_timeout: float
    queue_timeout: float
    body_timeout: float
    body_limit: int
    held: HeldBytes
    stopping: asyncio.Event
