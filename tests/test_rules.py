"""Every setting that applies live has a part that goes by it, and goes by it as if it had been started so."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor import rules
from supervisor.balancer.server import Balancer
from supervisor.events import Events
from supervisor.settings.diff import APPLIES, Applies
from supervisor.settings.schema import Settings
from supervisor.status import Status
from tests.settings.test_diff import changed

ASKED_FOR = {"replicas.count", "replicas.warm_up_timeout", "health.interval", "stop.drain", "rollout.last_good"}
"""Read where they are needed, or handed on by a message of its own."""

LOGS = {"logs.level", "logs.buffer_lines", "logs.keep_lines"}  # tests/observe
LIVE = [name for name, applies in APPLIES.items() if applies is Applies.LIVE and name not in ASKED_FOR | LOGS]


def no_status() -> Status:
    raise AssertionError("nobody asks")


def balancer(settings: Settings) -> Balancer:
    return Balancer(rotation=rules.rotation(settings), settings=settings, events=Events(), health=no_status)


def goes_by(made: Balancer, settings: Settings) -> dict[str, Any]:
    """What decides, of all parts. `settings` are those that the rules are made from."""
    around, pool, house = made._house.around, made._pool, made._house
    return {
        "line": rules.line(settings),
        "fleet": rules.fleet(settings),
        "watch": rules.watch(settings),
        "replica": rules.replica(settings),
        "recycle": rules.recycle(settings),
        "probe": settings.health.timeout,
        "access": around.rules,
        "times": (around.response_timeout, around.queue_timeout, around.body_timeout),
        "bodies": (around.body_limit, around.held.limit),
        "pool": (pool._connect_timeout, pool._idle_timeout),
        "house": (house.limits, house.head_timeout, house.crowd._most, house.crowd._most_per_address),
        "keepalive": house.keepalive_timeout,
    }


@pytest.mark.parametrize("name", LIVE)
async def test_a_live_setting_changes_what_some_part_goes_by(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor.balancer.server.affordable", lambda wanted: wanted)
    before, after = Settings(), changed(name)
    made = balancer(before)
    old = goes_by(made, before)
    made.rule(after)
    assert goes_by(made, after) != old, f"{name} is said to apply live, and nothing goes by it"
    assert goes_by(made, after) == goes_by(balancer(after), after)
