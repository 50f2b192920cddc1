"""What requests came to, in plain numbers.

prometheus_client takes a lock for each number that it counts, and passes through the buckets one by one. That is worth
nothing here, where one thread counts and reads, and this happens with every request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from supervisor.events import RequestFinished

OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
STATUSES = frozenset({0, *HTTPStatus})
MOST_ROUTES = 64
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Seconds: from the balancer's own answers to long completions."""

_BOUNDS = (*(str(float(bound)) for bound in BUCKETS), "+Inf")


@dataclass(slots=True)
class Times:
    """A histogram. `counts` has one more than BUCKETS: what took longer than any."""

    total: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0] * len(_BOUNDS))

    def add(self, seconds: float) -> None:
        self.total += seconds
        self.counts[bisect_left(BUCKETS, seconds)] += 1


@dataclass(slots=True)
class _Tally:
    times: Times  # of its route
    count: int = 0


class RequestTally(Collector):
    """How many requests there were, of each kind, and how long they took."""

    def __init__(self) -> None:
        self._times: dict[str, Times] = {}
        self._tallies: dict[tuple[str, str, str, str], _Tally] = {}
        self._known: dict[tuple[str, str, int, str], _Tally] = {}  # by what events say, where that is what labels say
        self._waits = Times()

    def count(self, event: RequestFinished) -> None:
        said = (event.route, event.method, event.status, event.outcome)
        tally = self._known.get(said) or self._tally(*said)
        tally.count += 1
        times, seconds = tally.times, event.seconds  # as `add`, without the call: this happens with every request
        times.total += seconds
        times.counts[bisect_left(BUCKETS, seconds)] += 1
        if event.waited:
            self._waits.add(event.waited)

    def _tally(self, route: str, method: str, status: int, outcome: str) -> _Tally:
        if route not in self._times and len(self._times) >= MOST_ROUTES:
            route = OTHER
        labels = (route, method_label(method), status_label(status), outcome)
        tally = self._tallies.get(labels)
        if tally is None:
            tally = self._tallies[labels] = _Tally(self._times.setdefault(route, Times()))
        if labels[1] == method and status in STATUSES:
            self._known[route, method, status, outcome] = tally
        return tally

    def describe(self) -> list[Metric]:
        return []  # what there is depends on the requests

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "litesup_requests",
            "Requests that the balancer has finished.",
            labels=["route", "method", "status", "outcome"],
        )
        for labels, tally in self._tallies.items():
            requests.add_metric(labels, tally.count)
        yield requests
        seconds = HistogramMetricFamily(
            "litesup_request_duration_seconds",
            "From a request's head to the last byte of its response.",
            labels=["route"],
        )
        for route, times in self._times.items():
            seconds.add_metric([route], _cumulative(times), times.total)
        yield seconds
        waits = HistogramMetricFamily(
            "litesup_queue_wait_seconds", "How long requests stood in line, of those that had to.", labels=[]
        )
        waits.add_metric([], _cumulative(self._waits), self._waits.total)
        yield waits


def method_label(method: str) -> str:
    return method if method in METHODS else OTHER


def status_label(status: int) -> str:
    """The status itself where it is a known one, else its class; 0 is a client that left first."""
    return str(int(status)) if status in STATUSES else f"{status // 100}xx"


def _cumulative(times: Times) -> list[tuple[str, float]]:
    below = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(_BOUNDS, times.counts, strict=True):
        below += count
        buckets.append((bound, below))
    return buckets
