"""A small question, and runs that nobody measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.question import Figure, Goal, Question, Run, Verdict, in_turns, median, ratio

RATE = Figure("rate", "throughput", "1/s", "more")
P99 = Figure("p99", "99th percentile", "ms", "less")
CASES = ("1 client", "64 clients")


def fast_enough(runs: Sequence[Run]) -> Verdict:
    share = ratio(runs, "litesup", "haproxy", "rate", "64 clients")
    return Verdict(share >= 0.4, f"{share:.2f} ×")


def soon_enough(runs: Sequence[Run]) -> Verdict:
    found = median(runs, "litesup", "p99", "1 client")
    return Verdict(found <= 2.0, P99.text(found))


def measure(rounds: int, sides: Sequence[str]) -> Iterator[Run]:
    for number, side in in_turns(sides, rounds):
        for case in CASES:
            yield Run(side, number, {"rate": 1000.0 * (1 + len(side)), "p99": 3.5 + number}, case)


QUESTION = Question(
    name="made_up",
    title="The hop",
    how="Requests are sent through each proxy.",
    sides=("litesup", "nginx", "haproxy"),
    figures=(RATE, P99),
    goals=(
        Goal("≥ 0.4 × HAProxy's throughput", fast_enough, unmet="It never was slow enough to say."),
        Goal("p99 ≤ 2 ms", soon_enough, unmet="Python needs its time; a faster parser was tried."),
    ),
    measure=measure,
)
