"""What is made of the events that arrived, and when the goals of `streams` are met."""

from __future__ import annotations

import pytest

from benchmarks.question import NotMeasured, Run
from benchmarks.stream_load import MARK, STAMP, Step, stamps
from benchmarks.streams import figures, judge_complete, judge_cost, judge_delay

TOLD = {"sent": 2000, "arrived": 1990, "reads": 995, "seconds": 2.0, "median": 0.001, "p99": 0.004, "own": 0.25}


def runs(**more: float) -> list[Run]:
    ours = {"p99": 2.5, "cpu": 20.0, "arrived": 100.0, "together": 1.1} | more
    return [
        Run("litesup", 0, ours),
        Run("haproxy", 0, {"p99": 1.0, "cpu": 8.0, "arrived": 100.0}),
        Run("direct", 0, {"p99": 0.75, "arrived": 100.0, "load": 20.0}),
    ]


def test_the_times_of_events_are_found_wherever_the_bytes_were_cut():
    data = b"".join(b'data: {"delta":{%b%020d"}}\n\n' % (MARK, number) for number in range(3))
    for cut in range(len(data)):
        before, rest = stamps(data[:cut])
        after, _ = stamps(rest + data[cut:])
        assert before + after == [0, 1, 2]


def test_what_is_kept_for_later_does_not_grow_with_the_stream():
    _, rest = stamps((b"x" * 200 + MARK + b"1" * STAMP + b"y" * 50) * 100)
    assert rest == b"y" * 50


def test_a_step_is_read_as_it_is_written():
    assert Step.parsed("500x0.5") == Step(500, 0.5)


def test_figures_have_the_units_of_the_page():
    found = figures(TOLD | {"cpu": 0.0398}, proxied=True)
    assert found == {
        "arrived": 99.5,
        "rate": 1000.0,
        "median": 1.0,
        "p99": 4.0,
        "together": 2.0,
        "load": 25.0,
        "cpu": pytest.approx(20.0),
        "core": pytest.approx(1.99),
    }


def test_without_a_proxy_there_is_nothing_to_say_of_its_processor_time():
    assert {"cpu", "core"}.isdisjoint(figures(TOLD | {"cpu": 0.0}, proxied=False))


@pytest.mark.parametrize(("p99", "met"), [(2.75, True), (2.76, False)])
def test_what_is_added_is_what_goes_beyond_the_delay_without_a_proxy(p99, met):
    verdict = judge_delay(runs(p99=p99))
    assert verdict.met is met
    assert verdict.measured.endswith("ms added; haproxy 0.25 ms")


def test_delays_mean_nothing_when_the_load_had_no_core_to_spare():
    saturated = [*runs(), Run("direct", 1, {"p99": 50.0, "load": 96.0})]
    assert judge_delay(saturated).met is None


@pytest.mark.parametrize(("cpu", "met"), [(24.0, True), (24.1, False)])
def test_an_event_may_cost_three_times_what_it_costs_haproxy(cpu, met):
    assert judge_cost(runs(cpu=cpu)).met is met


def test_without_haproxy_nothing_is_said_of_the_cost():
    with pytest.raises(NotMeasured):
        judge_cost([each for each in runs() if each.side != "haproxy"])


def test_one_round_in_which_an_event_is_lost_is_one_too_many():
    assert judge_complete(runs()).met is True
    assert judge_complete([*runs(), Run("litesup", 1, {"arrived": 99.99, "together": 1.0})]).met is False
