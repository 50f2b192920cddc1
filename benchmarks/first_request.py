"""How long the first request on a new replica takes.

python -m benchmarks.first_request
"""

from __future__ import annotations

from benchmarks.goals import at_most
from benchmarks.question import Figure, Goal, run
from benchmarks.sitting import FIRST_EACH, STARTS, STEADY_FROM

FIGURES = (
    Figure("first_plain", "plain, the first", "ms", "less"),
    Figure("steady_plain", "plain, steady", "ms", "less"),
    Figure("cold_plain", "plain, the first to a steady one", "x", "less"),
    Figure("first_stream", "streamed, the first", "ms", "less"),
    Figure("steady_stream", "streamed, steady", "ms", "less"),
    Figure("cold_stream", "streamed, the first to a steady one", "x", "less"),
)

NOT_YET_ITS_OWN = (
    "The first request on a replica is the first that uses its configuration: its router, its connection to the "
    "provider, and memory that was shared until it is written to. All that comes before, the tokenizer of its models "
    "included, was loaded, rehearsed and shared ([decision 2](decisions/0002-fork-server.md))."
)

QUESTION = STARTS.question(
    name="first_request",
    title="First request: how warm a new replica is",
    how=(
        f"After a start, one request at a time, plain and streamed in turns, {FIRST_EACH} of each per replica, "
        "each to its last byte and on a connection of its own. Behind litesup it is known who answered, so "
        "the first is the slowest first of the three replicas, some of which see a stream before anything "
        "else; behind the others it is the pool's very first of its kind, which spares them the cold workers "
        f"that come later. Steady is the median from the {STEADY_FROM + 1}th on."
    ),
    figures=FIGURES,
    goals=(
        Goal(
            "the first plain one at most 2 × the steady median",
            at_most(FIGURES[2], 2.0),
            unmet=NOT_YET_ITS_OWN,
        ),
        Goal(
            "the first streamed one at most 2 × the steady median",
            at_most(FIGURES[5], 2.0),
            unmet=NOT_YET_ITS_OWN,
        ),
    ),
    drawn=("cold_plain", "cold_stream"),
)

if __name__ == "__main__":
    run(QUESTION)
