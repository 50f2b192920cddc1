"""What a change of settings means. Every setting is asked."""

from pathlib import Path
from typing import Any

import pytest

from supervisor.settings.diff import APPLIES, Applies, diff, in_force_after
from supervisor.settings.schema import Settings, schema_places

NAMES = [".".join(place) for place in schema_places()]
OTHER: dict[str, object] = {
    "config": "other.yaml",
    "runtime_dir": "/run/other",
    "state_dir": "/var/other",
    "balancer.host": ["127.0.0.2"],
    "balancer.policy": "least_outstanding",
    "admin.host": "127.0.0.2",
    "access.allow": ["10.0.0.0/8"],
    "access.trusted": ["10.0.0.0/8"],
    "access.proxies": ["10.0.0.0/8"],
    "access.hosts": ["proxy.example"],
    "recycle.jitter": 0.5,
    "replicas.launcher": "plain",
    "logs.format": "json",
    "logs.level": "debug",
}
"""Another value than the default, for what is neither a number nor a switch."""


def changed(*names: str) -> Settings:
    document: dict[str, Any] = {}
    for name in names:
        section, _, inner = name.rpartition(".")
        default = getattr(getattr(Settings(), section) if section else Settings(), inner)
        value = OTHER[name] if name in OTHER else not default if isinstance(default, bool) else (default or 0) + 1
        (document.setdefault(section, {}) if section else document)[inner] = value
    return Settings.model_validate(document)


def test_every_setting_has_one_class_and_there_is_no_other() -> None:
    missing, unknown = set(NAMES) - set(APPLIES), set(APPLIES) - set(NAMES)
    assert not missing, f"say in settings/diff.py when a change of these applies: {sorted(missing)}"
    assert not unknown


@pytest.mark.parametrize("name", NAMES)
def test_a_change_of_one_setting_is_that_change_alone(name: str) -> None:
    [change] = diff(Settings(), changed(name))
    assert change.name == name
    assert change.applies is APPLIES[name]


def test_no_change_is_none() -> None:
    assert diff(changed(*NAMES), changed(*NAMES)) == ()


def test_what_only_a_restart_changes_stays_and_everything_else_comes_into_force() -> None:
    after = in_force_after(Settings(), changed(*NAMES))
    left = {change.name for change in diff(after, changed(*NAMES))}
    assert left == {name for name, applies in APPLIES.items() if applies is Applies.RESTART}
    assert {change.name for change in diff(Settings(), after)} == set(NAMES) - left


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("balancer.port", "balancer.port (8000 → 8001)"),
        ("balancer.policy", "balancer.policy (round_robin → least_outstanding)"),
        ("queue.timeout", "queue.timeout (60 → 61)"),
        ("rollout.watch", "rollout.watch (true → false)"),
        ("access.trusted", "access.trusted (unset → [10.0.0.0/8])"),
        ("balancer.host", "balancer.host ([127.0.0.1, ::1] → [127.0.0.2])"),
        ("runtime_dir", "runtime_dir (unset → /run/other)"),
    ],
)
def test_a_change_reads_like_the_file(name: str, text: str) -> None:
    [change] = diff(Settings(), changed(name))
    assert str(change) == text


def test_the_values_that_are_kept_are_those_in_force_and_not_the_defaults() -> None:
    running = Settings.model_validate({"balancer": {"port": 9000}, "config": Path("mine.yaml")})
    after = in_force_after(running, changed("balancer.port", "queue.size"))
    assert (after.balancer.port, after.config, after.queue.size) == (9000, Path("mine.yaml"), 1001)
