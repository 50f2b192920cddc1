"""From the settings to the rules by which the parts decide.

Owns the translation, and nothing else: what a setting is called and means is `settings.schema`'s, what follows from a
rule is `policy`'s. Asked at the start, and again whenever the settings change.
"""

from __future__ import annotations

import math

from supervisor.fleet.messages import FleetRules
from supervisor.fleet.replica import ReplicaTimes
from supervisor.policy import recycling
from supervisor.policy.balancing import BalancingRules, Choose, least_outstanding, round_robin
from supervisor.policy.health import HealthRules
from supervisor.policy.queueing import QueueLimits
from supervisor.policy.restart import RestartRules
from supervisor.policy.rollout import Rules
from supervisor.rotation import Rotation
from supervisor.settings.schema import BalancingPolicy, Settings
from supervisor.watch import WatchRules

CHOICES = {BalancingPolicy.ROUND_ROBIN: round_robin, BalancingPolicy.LEAST_OUTSTANDING: least_outstanding}


def rotation(settings: Settings) -> Rotation:
    return Rotation(*line(settings))


def line(settings: Settings) -> tuple[Choose, QueueLimits, BalancingRules]:
    """By what requests are given to replicas, or wait."""
    most = settings.replicas.max_in_flight
    return (
        CHOICES[settings.balancer.policy],
        QueueLimits(settings.queue.size, settings.queue.timeout),
        BalancingRules(settings.balancer.slow_start, math.inf if most is None else most),
    )


def watch(settings: Settings) -> WatchRules:
    return WatchRules(settings.rollout.debounce, enabled=settings.rollout.watch)


def fleet(settings: Settings) -> FleetRules:
    restart = settings.restart
    return FleetRules(
        Rules(
            settle=settings.rollout.settle,
            start_timeout=settings.replicas.start_timeout,
            restart=RestartRules(
                initial=restart.initial,
                maximum=restart.maximum,
                maximum_when_short=restart.maximum_when_short,
                early=restart.early,
            ),
        ),
        HealthRules(give_up_after=settings.health.give_up_after, kill_after=settings.health.kill_after),
    )


def replica(settings: Settings) -> ReplicaTimes:
    return ReplicaTimes(
        probe_interval=settings.health.interval,
        drain_timeout=settings.replicas.drain_timeout,
        stop_timeout=settings.replicas.stop_timeout,
    )


def recycle(settings: Settings) -> recycling.Limits:
    worn = settings.recycle
    return recycling.Limits(worn.private_memory, worn.requests, worn.age, worn.jitter)
