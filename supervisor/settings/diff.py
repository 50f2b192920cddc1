"""What a change of settings means: what applies at once, what needs other replicas, what needs another daemon. Pure.

Every setting of the schema stands in exactly one of the three lists; a test holds that.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from supervisor.settings.schema import Section, Settings, schema_places


class Applies(enum.Enum):
    LIVE = "live"  # at once, to what begins from then on
    ROLL = "roll"  # to replicas that are started from then on, so they are replaced, each replacement first
    RESTART = "restart"  # when the daemon is started again


def _named(applies: Applies, **sections: str) -> dict[str, Applies]:
    return {f"{section}.{name}": applies for section, names in sections.items() for name in names.split()}


APPLIES: Mapping[str, Applies] = {
    **_named(
        Applies.LIVE,
        replicas="count max_in_flight start_timeout warm_up_timeout drain_timeout stop_timeout",
        balancer="policy slow_start connect_timeout response_timeout keepalive_timeout idle_upstream_timeout",
        limits="head_bytes target_bytes body_bytes head_timeout body_timeout connections connections_per_address",
        access="allow trusted proxies hosts",
        queue="size timeout",
        retry="body_limit held_bytes",
        health="interval timeout give_up_after kill_after",
        recycle="private_memory requests age jitter",
        rollout="settle watch debounce last_good",
        restart="initial maximum maximum_when_short early",
        stop="drain",
        logs="level buffer_lines keep_lines",
    ),
    **_named(Applies.ROLL, logs="litellm_debug"),
    # Directories and ports are opened once, and what was good is kept by the configuration that it was made from.
    "config": Applies.RESTART,
    "runtime_dir": Applies.RESTART,
    "state_dir": Applies.RESTART,
    **_named(
        Applies.RESTART,
        replicas="launcher",
        balancer="host port",
        admin="enabled host port",
        logs="format",
    ),
}


@dataclass(frozen=True, slots=True)
class Change:
    """`name` is spelt as in `litesup.yaml`: "balancer.port"."""

    name: str
    old: object
    new: object
    applies: Applies

    def __str__(self) -> str:
        return f"{self.name} ({_spelt(self.old)} → {_spelt(self.new)})"


def diff(old: Settings, new: Settings) -> tuple[Change, ...]:
    """Every setting whose value differs, in the schema's order."""
    changes = []
    for place in schema_places():
        before, after = _value(old, place), _value(new, place)
        if before != after:
            name = ".".join(place)
            changes.append(Change(name, before, after, APPLIES.get(name, Applies.RESTART)))
    return tuple(changes)


def in_force_after(old: Settings, new: Settings) -> Settings:
    """The new settings, but the old values of what only a restart changes."""
    kept: dict[str, dict[str, Any]] = {}
    top: dict[str, Any] = {}
    for place in schema_places():
        if APPLIES.get(".".join(place), Applies.RESTART) is Applies.RESTART:
            *section, name = place
            (kept.setdefault(section[0], {}) if section else top)[name] = _value(old, place)
    for section_name, values in kept.items():
        top[section_name] = getattr(new, section_name).model_copy(update=values)
    return new.model_copy(update=top)


def _value(settings: Settings, place: tuple[str, ...]) -> object:
    value: object = settings
    for part in place:
        assert isinstance(value, Section)
        value = getattr(value, part)
    return value


def _spelt(value: object) -> str:
    match value:
        case None:
            return "unset"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case tuple():
            return f"[{', '.join(_spelt(each) for each in value)}]"
        case enum.Enum():
            return str(value.value)
    return str(value)
