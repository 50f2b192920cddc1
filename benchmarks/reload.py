"""How soon a saved change serves everywhere, and what it costs those who are being served.

python -m benchmarks.reload
"""

from __future__ import annotations

from benchmarks.goals import all_of, at_most, never
from benchmarks.question import Figure, Goal, run
from benchmarks.sitting import TROUBLES
from supervisor.settings.schema import Settings

SETTLE = Settings().rollout.settle

FIGURES = (
    Figure("reloaded", "from the save until all know the new model", "s", "less"),
    Figure("failed", "requests failed", "", "less"),
    Figure("cut", "streams cut", "", "less"),
    Figure("asked", "requests in all", "", "more"),
)

QUESTION = TROUBLES.question(
    name="reload",
    title="Reload: a model is added to the YAML of three under load",
    how=(
        "Eight clients read streams of 2.2 s and four ask for plain answers of 0.3 s, from a provider that "
        "takes its time, while a model is added to the file; who is refused asks again after 0.05 s, so that the "
        "requests that fail tell how long nobody served. litesup is left to see it: from the save to "
        f"`rollout_completed`, which includes the {SETTLE:g} s (`rollout.settle`) that it gives the first new "
        "replica. gunicorn gets SIGHUP, and is done when three new workers have started and the old ones are "
        "gone. uvicorn gives SIGHUP up by itself (“aborting the restart”), so it is restarted. The three "
        "plain LiteLLMs behind HAProxy are restarted one after another, each when the one before is ready. "
        "Afterwards the new model must answer every time, else the run is none."
    ),
    figures=FIGURES,
    goals=(
        Goal(f"within settle + 2 s ({SETTLE + 2:g} s)", at_most(FIGURES[0], SETTLE + 2.0)),
        Goal("no request failed, no stream cut", all_of(never(FIGURES[1]), never(FIGURES[2]))),
    ),
    drawn=("reloaded", "failed", "cut"),
)

if __name__ == "__main__":
    run(QUESTION)
