"""Who gets a place."""

from __future__ import annotations

import resource

import pytest

from supervisor.balancer.crowd import STANDING, Crowd, Place, affordable


def test_there_are_places_for_as_many_as_are_allowed_and_nobody_has_to_leave():
    crowd: Crowd[str] = Crowd(2)
    assert crowd.arrive("a", "x") == (Place.SEAT, None)
    assert crowd.arrive("b", "x") == (Place.SEAT, None)
    assert (len(crowd), crowd.idle) == (2, 2)


def test_the_one_longest_without_a_request_leaves_for_a_newcomer():
    crowd: Crowd[str] = Crowd(3)
    for name in "abc":
        crowd.arrive(name, "x")
    crowd.begin("a")
    crowd.end("a")
    crowd.begin("b")
    assert crowd.arrive("d", "x") == (Place.SEAT, "c")
    assert crowd.arrive("e", "x") == (Place.SEAT, "a")
    assert crowd.arrive("f", "x") == (Place.SEAT, "d")
    assert len(crowd) == 3


def test_when_all_are_at_work_a_few_may_stand_and_the_rest_go():
    crowd: Crowd[int] = Crowd(1)
    crowd.arrive(0, "x")
    crowd.begin(0)
    assert [crowd.arrive(number, "x")[0] for number in range(1, STANDING + 2)] == [Place.STANDING] * STANDING + [
        Place.NONE
    ]
    assert crowd.turned_away == 1
    crowd.end(1)  # who stands has had his answer, and does not get a seat for it
    assert crowd.idle == 0
    crowd.leave(1)
    assert crowd.arrive(99, "x") == (Place.STANDING, None)


def test_an_address_has_no_more_places_than_its_own():
    crowd: Crowd[str] = Crowd(10, most_per_address=1)
    assert crowd.arrive("a", "x")[0] is Place.SEAT
    assert crowd.arrive("b", "x")[0] is Place.STANDING
    assert crowd.arrive("c", "y")[0] is Place.SEAT
    crowd.leave("a")
    crowd.leave("a")
    assert crowd.arrive("d", "x")[0] is Place.SEAT


def test_there_are_never_more_places_than_descriptors_can_serve(monkeypatch):
    limit = [1024, 4096]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limit))
    monkeypatch.setattr(resource, "setrlimit", lambda _, to: limit.__setitem__(slice(None), to))
    assert affordable(10) == 10
    assert limit == [1024, 4096]
    assert affordable(1000) == 1000
    assert limit[0] == 2 * (1000 + STANDING) + 256
    assert affordable(10_000) == (4096 - 256) // 2 - STANDING
    assert limit == [4096, 4096]
    limit[:] = [resource.RLIM_INFINITY, resource.RLIM_INFINITY]
    assert affordable(10_000) == 10_000


@pytest.mark.parametrize("hard", [16, 256, 300])
def test_however_few_descriptors_there_are_some_places_remain(monkeypatch, hard):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (hard, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    assert affordable(10_000) == 16
