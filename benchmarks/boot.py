"""How soon a pool of three serves.

python -m benchmarks.boot
"""

from __future__ import annotations

from benchmarks.goals import share_of
from benchmarks.question import Figure, Goal, run
from benchmarks.sitting import STARTS

FIGURES = (
    Figure("ready", "all three ready", "s", "less"),
    Figure("answered", "first 200 of /health/readiness", "s", "less"),
)

LOADED_ONCE = (
    "gunicorn and litesup load LiteLLM once, on one core, and that is most of the time of both. gunicorn then forks "
    "three workers that are cold; litesup rehearses requests before it forks, and its replicas have served two more "
    "before they count. The tokenizer that this model's streams need is loaded in that time, too: 0.3 s, which each "
    "worker spends in its first stream. What takes how long is in the decision; a second core cannot take part in "
    "the import. Tried: a fork server that begins before the daemon is loaded, imports on a list, short ways "
    "for what each replica did anew ([decision 2](decisions/0002-fork-server.md))."
)

QUESTION = STARTS.question(
    name="boot",
    title="Boot: how soon three replicas are ready and warm",
    how=(
        "From the start of the command until three LiteLLMs serve. For litesup that is the third "
        "`replica_ready` in its log: the replica has answered a probe and has served a plain and a streamed "
        "request. uvicorn (`--num_workers 3`) and gunicorn (`--num_workers 3 --run_gunicorn`) warm nothing "
        "up; they are ready when the third worker has logged that its application has started, which is the "
        "moment from which it takes connections. Because they already serve with one worker, and litesup with "
        "one replica, the first 200 of `GET /health/readiness` on the pool's port is told, too. All sides run "
        "from compiled bytecode, with the same YAML, environment and Python, and look for their state every "
        "10 ms, which is the error of the measurement. Before the first round the installed packages and Python's own "
        "library are read once, by none of the sides: the first start would otherwise be the one that waits for the "
        "disk, by about a second, whoever makes it. Memory and first request are asked of the same start."
    ),
    figures=FIGURES,
    goals=(
        Goal(
            "at most 0.75 × gunicorn's time until all three are ready",
            share_of("gunicorn", "ready", 0.75),
            unmet=LOADED_ONCE,
        ),
        Goal(
            "at most 0.35 × uvicorn's time until all three are ready",
            share_of("uvicorn", "ready", 0.35),
            unmet=LOADED_ONCE,
        ),
    ),
    drawn=("ready",),
)

if __name__ == "__main__":
    run(QUESTION)
