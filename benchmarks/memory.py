"""What a pool of three weighs.

python -m benchmarks.memory
"""

from __future__ import annotations

from benchmarks.goals import share_of
from benchmarks.question import Figure, Goal, run
from benchmarks.sitting import SERVED_PLAIN, SERVED_STREAMED, STARTS

FIGURES = (
    Figure("idle", "idle", "MB", "less"),
    Figure("served", f"after {SERVED_PLAIN + SERVED_STREAMED:,} requests", "MB", "less"),
)

QUESTION = STARTS.question(
    name="memory",
    title="Memory: what a pool of three weighs",
    how=(
        "The sum of PSS (private pages, and each shared page divided by those who share it) of every process "
        "that was started: replicas, daemon with the balancer, and fork server; master, resource tracker and "
        "workers. Idle is one second after all three are ready, when litesup's have been warmed up and the "
        f"others' have served nothing; then {SERVED_PLAIN:,} plain and {SERVED_STREAMED} streamed chat "
        "completions from 8 clients, and one second of rest."
    ),
    figures=FIGURES,
    goals=(
        Goal(
            "idle, at most 1.15 × gunicorn",
            share_of("gunicorn", "idle", 1.15),
            unmet="litesup's replicas are warm by then, which takes most of what each has of its own, and gunicorn's "
            "have not served yet: the second figure is that of workers at work. Some 40 MB of it are this model's "
            "tokenizer, loaded once; a worker that streams loads its own, 67 MB. What was let go, laid side by side "
            "and left is in [decision 2](decisions/0002-fork-server.md).",
        ),
        Goal("after the requests, at most 1.15 × gunicorn", share_of("gunicorn", "served", 1.15)),
    ),
    drawn=("idle", "served"),
)

if __name__ == "__main__":
    run(QUESTION)
