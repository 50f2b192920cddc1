"""From the settings to the rules by which the parts decide.

Owns the translation, and nothing else: what a setting is called and means is `settings.schema`'s, what follows from a
rule is `policy`'s.
"""

from __future__ import annotations

import math

from supervisor.fleet.pool import FleetRules
from supervisor.policy.balancing import BalancingRules, least_outstanding, round_robin
from supervisor.policy.health import HealthRules
from supervisor.policy.queueing import QueueLimits
from supervisor.policy.restart import RestartRules
from supervisor.policy.rollout import Rules
from supervisor.rotation import Rotation
from supervisor.settings.schema import BalancingPolicy, Settings

CHOICES = {BalancingPolicy.ROUND_ROBIN: round_robin, BalancingPolicy.LEAST_OUTSTANDING: least_outstanding}


def rotation(settings: Settings) -> Rotation:
    most = settings.replicas.max_in_flight
    return Rotation(
        CHOICES[settings.balancer.policy],
        QueueLimits(settings.queue.size, settings.queue.timeout),
        BalancingRules(settings.balancer.slow_start, math.inf if most is None else most),
    )


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
