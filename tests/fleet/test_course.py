"""What the course says to those who ask: which generations may be launched, which one serves, and whose schema it is."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.events import Events
from supervisor.fleet.course import Course
from supervisor.fleet.messages import Want
from tests.fleet.simulation import generation


class Steered:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.course = Course(Events())

    def want(self, name: str, *, migrates: bool = False) -> None:
        wanted = dataclasses.replace(generation(name), migrates=migrates)
        self.course.want(Want(wanted, Path("/nowhere"), "test", self.loop.create_future(), again=False), 0.0)

    def arrive(self, name: str) -> None:
        self.course.served(name)
        self.course.arrived(frozenset({name}), 0.0)

    @property
    def launchable(self) -> list[str]:
        return [one.digest for one in self.course.launchable]


@pytest.fixture
def steered() -> Iterator[Steered]:
    made = Steered()
    yield made
    made.loop.close()


def test_at_the_start_there_is_what_is_wanted_and_before_that_nothing(steered: Steered) -> None:
    assert steered.launchable == []
    steered.want("a")
    assert steered.launchable == ["a"]


def test_on_trial_the_old_one_may_be_launched_too_and_is_the_one_that_serves(steered: Steered) -> None:
    steered.want("a")
    steered.arrive("a")
    steered.want("b")
    assert steered.launchable == ["b", "a"]
    assert steered.course.serving is not None
    assert steered.course.serving.digest == "a"


def test_what_was_superseded_is_not_launched_any_more(steered: Steered) -> None:
    steered.want("a")
    steered.arrive("a")
    for name in "bc":
        steered.want(name)
    assert steered.launchable == ["c", "a"]


@pytest.mark.parametrize("ends", ["gives up", "arrives"])
def test_in_the_end_one_is_left(steered: Steered, ends: str) -> None:
    steered.want("a")
    steered.arrive("a")
    steered.want("b")
    if ends == "gives up":
        steered.course.gave_up("as the test wished")
    else:
        steered.course.passed()
        steered.arrive("b")
    assert steered.launchable == ["a" if ends == "gives up" else "b"]


def test_a_schema_belongs_to_a_generation_once_a_replica_of_it_has_served(steered: Steered) -> None:
    steered.want("a")
    assert not is_unmigrated(steered), "it has no database"
    steered.want("b", migrates=True)
    assert is_unmigrated(steered)
    steered.arrive("b")
    assert not is_unmigrated(steered)


def is_unmigrated(steered: Steered) -> bool:
    return steered.course.unmigrated


def test_after_a_roll_back_nobody_migrates_again(steered: Steered) -> None:
    steered.want("a", migrates=True)
    steered.arrive("a")
    steered.want("b", migrates=True)
    assert is_unmigrated(steered)
    steered.course.gave_up("as the test wished")
    assert not is_unmigrated(steered)
