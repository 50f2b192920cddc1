"""A deadline that is moved again and again rings when it should, and sets no timer where one will ring in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from supervisor.balancer.alarm import Alarm


class Clock:
    """A loop's clock and its timers, as far as an alarm needs them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, act: Callable[[], None]) -> Timer:
        timer = Timer(when, act)
        self.timers.append(timer)
        return timer

    def until(self, now: float) -> None:
        """Lets every timer ring that is due by then."""
        while due := [timer for timer in self.timers if timer.when <= now and not timer.over]:
            first = min(due, key=lambda timer: timer.when)
            self.now = max(self.now, first.when)
            first.over = True
            first.act()
        self.now = now


class Timer:
    def __init__(self, when: float, act: Callable[[], None]) -> None:
        self.when = when
        self.act = act
        self.over = False

    def cancel(self) -> None:
        self.over = True


def made() -> tuple[Clock, list[float], Alarm]:
    clock, rung = Clock(), list[float]()
    alarm = Alarm(cast("asyncio.AbstractEventLoop", cast("Any", clock)), lambda: rung.append(clock.now))
    return clock, rung, alarm


def test_it_rings_once_at_its_moment():
    clock, rung, alarm = made()
    alarm.set(5)
    clock.until(100)
    assert rung == [5]


def test_put_off_a_thousand_times_it_rings_at_the_last_moment_and_takes_two_timers():
    clock, rung, alarm = made()
    for moment in range(1000):
        clock.now = moment / 1000
        alarm.set(clock.now + 10)
    clock.until(100)
    assert rung == [clock.timers[-1].when] == [10.999]
    assert len(clock.timers) == 2


def test_brought_forward_it_rings_at_the_sooner_moment():
    clock, rung, alarm = made()
    alarm.set(10)
    alarm.set(3)
    clock.until(100)
    assert rung == [3]


def test_set_anew_when_it_rings_it_rings_again():
    clock, rung = Clock(), list[float]()

    def ring() -> None:
        rung.append(clock.now)
        if len(rung) < 3:
            alarm.set(clock.now + 5)

    alarm = Alarm(cast("asyncio.AbstractEventLoop", cast("Any", clock)), ring)
    alarm.set(5)
    clock.until(100)
    assert rung == [5, 10, 15]


def test_stopped_it_leaves_no_timer():
    clock, rung, alarm = made()
    alarm.set(5)
    alarm.stop()
    assert all(timer.over for timer in clock.timers)
    clock.until(100)
    assert rung == []
