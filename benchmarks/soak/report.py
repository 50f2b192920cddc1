"""What a soak found, for a person and as JSON. Pure."""

from __future__ import annotations

import dataclasses
import enum
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.soak.chaos import Done
from benchmarks.soak.gauges import MUST_BE_NOTHING, MUST_NOT_GROW, Memory, Rest
from benchmarks.soak.growth import Trend, later_half, trend
from benchmarks.soak.judge import Judge, Request, Why, defects, moment

MAY_RISE = 2.0
"""MiB of memory, over the second half of ten minutes; a shorter soak has less of it, and a longer one more."""
WARM_AFTER = 240.0
"""Seconds until a daemon has done everything once, in each of its threads, and its logbook is full."""
WARMING = 12.0
"""MiB that it may grow by then. A soak whose second half begins earlier can only tell that it does not run away."""
LONGEST = 60.0  # seconds for a first byte; what waited longer has waited for nothing
SHOWN = 20  # of a kind; the JSON has them all


@dataclass(frozen=True, slots=True)
class Ending:
    """How the daemon ended when it was told to, and what the command said that told it."""

    code: int
    command: int
    said: str
    processes: int
    sockets: int


@dataclass(frozen=True, slots=True)
class Found:
    """All that was seen. `seconds` is how long the soak took."""

    seed: int
    seconds: float
    requests: Sequence[Request]
    done: Sequence[Done]
    log: Sequence[Mapping[str, Any]]
    memory: Sequence[Memory]
    rests: Sequence[Rest]
    provider_open: int  # calls that were still under way at the provider when every client had gone
    ending: Ending
    killed: frozenset[int] = frozenset()  # replicas to which the soak sent SIGKILL
    stopped: frozenset[int] = frozenset()  # and SIGSTOP


@dataclass(frozen=True, slots=True)
class Verdict:
    """`faults` is empty when there is nothing to say against it."""

    found: Found
    explained: Sequence[tuple[Request, Why]]
    unexplained: Sequence[Request]
    trends: Sequence[Trend]
    faults: Sequence[str]

    @property
    def passed(self) -> bool:
        return not self.faults


def judged(found: Found) -> Verdict:
    judge = Judge(found.log, found.killed, found.stopped)
    failed = [request for request in found.requests if not request.succeeded]
    reasons = [(request, judge.why(request)) for request in failed]
    unexplained = [request for request, why in reasons if why is None]
    trends = list(_trends(found))
    return Verdict(
        found=found,
        explained=[(request, why) for request, why in reasons if why is not None],
        unexplained=unexplained,
        trends=trends,
        faults=list(_faults(found, unexplained, trends)),
    )


def _trends(found: Found) -> Iterator[Trend]:
    allowed = MAY_RISE * found.seconds / 600.0 if found.seconds / 2 >= WARM_AFTER else WARMING
    for name in ("uss", "rss"):
        under_load = [(sample.at, getattr(sample, name)) for sample in found.memory]
        yield trend(f"{name} under load, MiB", later_half(under_load, until=found.seconds), allowed=allowed)
        at_rest = [(rest.at, getattr(rest, name)) for rest in found.rests]
        yield trend(f"{name} at rest, MiB", later_half(at_rest, until=found.seconds), allowed=allowed)
    for name, rise in MUST_NOT_GROW.items():
        points = [(rest.at, float(getattr(rest, name))) for rest in found.rests]
        yield trend(name.replace("_", " "), later_half(points, until=found.seconds), allowed=rise)


def _faults(found: Found, unexplained: Sequence[Request], trends: Sequence[Trend]) -> Iterator[str]:
    if unexplained:
        yield f"{len(unexplained)} failures that nothing explains"
    for each in trends:
        if each.grows:
            yield f"{each.name} grows: by {each.rise:.1f} in {each.seconds:.0f} s; {each.allowed:.1f} is allowed"
    for name in MUST_BE_NOTHING:
        left = [rest for rest in found.rests if getattr(rest, name)]
        if left:
            yield f"{name.replace('_', ' ')} at rest: {getattr(left[0], name)}, {left[0].at:.0f} s after the start"
    if found.provider_open:
        yield f"{found.provider_open} calls were still under way at the provider when every client had gone"
    late = [each for each in found.requests if each.first_byte and each.first_byte - each.started > LONGEST]
    if late:
        yield f"{len(late)} requests waited longer than {LONGEST:g} s for their first byte"
    for text in defects(found.log):
        yield f"the daemon's log: {text}"
    ending = found.ending
    if ending.code or ending.command or ending.processes or ending.sockets:
        yield (
            f"litesup stop: exit {ending.command} ({ending.said}), the daemon's {ending.code}, "
            f"{ending.processes} processes and {ending.sockets} sockets left"
        )


def lines(verdict: Verdict) -> Iterator[str]:
    found = verdict.found
    yield f"{found.seconds:.0f} s, seed {found.seed}: {len(found.done)} deeds, {len(found.requests)} requests"
    yield ""
    columns = f"{'all':>7}{'failed':>8}{'unexplained':>13}{'median':>9}{'p99':>8}{'longest':>9}"
    yield f"{'request':<28}{columns}  (seconds, to the first byte)"
    for ask in sorted({request.ask for request in found.requests}, key=lambda ask: ask.value):
        yield _row(ask.value, verdict, [request for request in found.requests if request.ask is ask])
    yield _row("together", verdict, found.requests)
    yield ""
    yield "why requests failed"
    for why, number in Counter(why for _, why in verdict.explained).most_common():
        yield f"  {number:>6}  {why.value}"
    yield f"  {len(verdict.unexplained):>6}  for no known reason"
    for request in verdict.unexplained[:SHOWN]:
        yield from _story(request, found)
    yield ""
    yield "what was done"
    for deed, number in Counter(done.deed for done in found.done).most_common():
        yield f"  {number:>6}  {deed.value}"
    events = Counter(str(event.get("event")) for event in found.log)
    told = ("replica_exited", "replica_killed", "request_retried", "request_suspected", "rollout_completed")
    yield "  " + ", ".join(f"{name} {events[name]}" for name in (*told, "rollout_failed", "fork_server_started"))
    yield ""
    yield f"{'the daemon, second half':<28}{'points':>7}{'median':>10}{'rise':>9}{'per hour':>10}{'allowed':>9}"
    for each in verdict.trends:
        figures = f"{each.median:>10.1f}{each.rise:>9.2f}{each.per_hour:>10.1f}{each.allowed:>9.1f}"
        yield f"{each.name:<28}{each.points:>7}{figures}"
    yield ""
    for fault in verdict.faults:
        yield f"FAULT: {fault}"
    yield "passed" if verdict.passed else f"failed: {len(verdict.faults)} faults"


def _row(name: str, verdict: Verdict, requests: Sequence[Request]) -> str:
    waits = sorted(r.first_byte - r.started for r in requests if r.first_byte is not None) or [0.0]
    failed = sum(1 for request in requests if not request.succeeded)
    unexplained = sum(1 for request in verdict.unexplained if request in requests)
    times = f"{waits[len(waits) // 2]:>9.2f}{waits[int(len(waits) * 0.99)]:>8.2f}{waits[-1]:>9.2f}"
    return f"{name:<28}{len(requests):>7}{failed:>8}{unexplained:>13}{times}"


def _story(request: Request, found: Found) -> Iterator[str]:
    """One failure that nothing explains, and what happened around it."""
    yield (
        f"          {request.id} {request.ask.value}: status {request.status}, slot {request.slot}, "
        f"{request.finished - request.started:.2f} s, whole {request.whole}, right {request.right}: "
        f"{request.error[:300]}"
    )
    for event in found.log:
        mine = event.get("request_id") == request.id
        near = "replica" in event and "slot" in event and event.get("event") not in {"litellm", "request_retried"}
        if mine or (near and request.started - 1 <= moment(event) <= request.finished + 1):
            what = {key: value for key, value in event.items() if key not in {"timestamp", "level", "generation"}}
            yield f"            {moment(event) - request.started:+.2f} s {what}"
    for done in found.done:
        if done.begun <= request.finished and done.ended >= request.started:
            yield f"            {done.begun - request.started:+.2f} s {done.deed.value}: {done.detail}"


def as_json(verdict: Verdict) -> dict[str, Any]:
    found = verdict.found
    return {
        "version": 1,
        "passed": verdict.passed,
        "faults": list(verdict.faults),
        "seed": found.seed,
        "seconds": found.seconds,
        "requests": len(found.requests),
        "failed": [{**_plain(request), "why": why.name.lower()} for request, why in verdict.explained],
        "unexplained": [_plain(request) for request in verdict.unexplained],
        "deeds": [_plain(done) for done in found.done],
        "trends": [{**_plain(each), "per_hour": each.per_hour} for each in verdict.trends],
        "rests": [_plain(rest) for rest in found.rests],
        "memory": [_plain(sample) for sample in found.memory],
        "ending": _plain(found.ending),
    }


def _plain(value: Any) -> dict[str, Any]:
    return dataclasses.asdict(
        value,
        dict_factory=lambda pairs: {k: v.name.lower() if isinstance(v, enum.Enum) else v for k, v in pairs},
    )
