"""When something grows evenly, and when it has a knee."""

from __future__ import annotations

import contextlib

import pytest

from benchmarks import growth
from benchmarks.growth import (
    EVENLY,
    FIGURES,
    GROWTH,
    configuration,
    judge_evenly,
    judge_stream_cost,
    judge_stream_memory,
    points,
    size_of,
)
from benchmarks.question import NotMeasured, Run
from benchmarks.slope import Point, knee


def line(*values: float) -> list[Point]:
    return [Point(10.0 * number, value) for number, value in enumerate(values, 1)]


def streams(figure: str, **values: float) -> list[Run]:
    return [Run("litesup", 0, {figure: value}, f"{int(size[1:]):,} streams") for size, value in values.items()]


@pytest.mark.parametrize(
    "values",
    [
        (1, 2, 3, 4, 5),
        (5, 5, 5, 5, 5),
        (1, 2.5, 4, 5.2, 6),  # ever less
        (5, 4, 3, 2, 1),
        (1, 2, 3.9, 5, 6),  # a little more once
    ],
)
def test_what_grows_evenly_or_less_and_less_has_no_knee(values):
    assert knee(line(*values), noise=0.0) is None


def test_the_step_that_adds_far_more_than_the_others_is_named():
    found = knee(line(1, 2, 3, 9, 10), noise=0.5)
    assert found is not None
    assert (found.since, found.until, found.slope, found.usual) == (30, 40, 0.6, 0.1)


def test_a_step_up_where_nothing_grows_is_a_knee_and_within_the_noise_it_is_none():
    assert knee(line(5, 5, 5, 8, 8), noise=1.0) is not None
    assert knee(line(5, 5, 5, 5.9, 5), noise=1.0) is None


def test_what_grows_with_the_square_has_a_knee():
    assert knee([Point(n, n * n) for n in (1, 2, 4, 8, 16)], noise=1.0) is not None


def test_two_sizes_tell_nothing():
    with pytest.raises(NotMeasured, match="2 sizes"):
        knee(line(1, 9), noise=0.0)


def test_sizes_are_read_from_the_cases_in_order_and_by_kind():
    runs = [*streams("weight", _5000=150.0, _1=40.0), Run("litesup", 0, {"boot": 1.0}, "1 replicas")]
    assert points(runs, "weight", "streams") == [Point(1, 40.0), Point(5000, 150.0)]
    assert size_of("5,000 streams") == (5000, "streams")


def test_what_has_to_grow_evenly_is_measured_at_three_sizes_at_least():
    assert {each.figure for each in EVENLY} <= {figure.name for figure in FIGURES}
    assert {each.along for each in EVENLY} == set(GROWTH)
    assert min(map(len, (growth.REPLICAS, growth.STREAMS, growth.MODELS, growth.SERVED))) >= 3
    assert set(growth.SERVED) <= set(growth.MODELS)


def test_a_knee_in_any_figure_is_told_with_its_place():
    even = streams("weight", _1=40, _1000=60, _2000=80, _3000=100)
    assert judge_evenly(even).met is True
    bent = judge_evenly([*even, *streams("weight", _4000=180)])
    assert bent.met is False
    assert "0.08 MB each from 3,000 to 4,000 streams, 0.02 MB elsewhere" in bent.measured
    with pytest.raises(NotMeasured):
        judge_evenly([])


@pytest.mark.parametrize(("heaviest", "met"), [(189.0, True), (191.0, False)])
def test_the_memory_of_a_stream_is_what_the_last_one_adds_to_the_first(heaviest, met):
    assert judge_stream_memory(streams("weight", _1=40.0, _5000=heaviest)).met is met


async def test_the_cost_of_an_event_is_compared_only_where_there_are_as_many_events(monkeypatch):
    async def told(*_: object) -> list[dict[str, float]]:
        return [{"streams": many, "pss": 40.0, "cpu": 1.0, "arrived": 7500} for many in (1, 125, 5000)]

    monkeypatch.setattr("benchmarks.growth.load", told)
    monkeypatch.setattr("benchmarks.growth.proxy", lambda *_: contextlib.nullcontext((1, 1)))
    assert [[*run.figures] for run in [run async for run in growth.of_streams(0)]] == [
        ["weight"],
        ["weight", "cpu"],
        ["weight", "cpu"],
    ]


def test_an_event_may_cost_a_quarter_more_among_the_most_streams():
    assert judge_stream_cost(streams("cpu", _125=20.0, _5000=25.0)).met is True
    assert judge_stream_cost(streams("cpu", _125=20.0, _5000=25.1)).met is False
    with pytest.raises(NotMeasured):
        judge_stream_cost(streams("cpu", _125=20.0))


def test_a_configuration_has_as_many_models_as_it_should_and_differs_when_it_is_to_change():
    assert configuration(3).count("model_name:") == 3
    assert configuration(3, retries=3) != configuration(3)
