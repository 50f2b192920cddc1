"""How soon a replica that was killed is back.

python -m benchmarks.recovery
"""

from __future__ import annotations

from benchmarks.goals import at_most
from benchmarks.question import Figure, Goal, run
from benchmarks.sitting import KILLS, KILLS_WITHIN, TROUBLES

FIGURES = (
    Figure("recovered", "kill -9 to as many as before", "s", "less"),
    Figure("slowest", "the slowest of a round", "s", "less"),
    Figure("lost", "requests lost, per kill", "", "less"),
)

QUESTION = TROUBLES.question(
    name="recovery",
    title="Recovery: how soon a killed replica is back",
    how=(
        f"Up to {KILLS} times a round, as long as {KILLS_WITHIN:g} s are not over, the LiteLLM that has run for "
        "longest gets SIGKILL, while two clients ask for some five chat completions a second. For litesup it is over "
        "when its log says that the replacement is READY, which it is when warm; for uvicorn and gunicorn when the "
        "new worker has logged that it has started, cold; for HAProxy before three plain LiteLLMs when the new one "
        "answers `/health/readiness` on its own port. HAProxy restarts nobody, and needs up to 4 s more to find out "
        "that the server is back (`rise 2`, `inter 2s`), which is not counted; a loop stands in for systemd's "
        "`Restart=always`, and restarts at once. Reload is asked of the same start."
    ),
    figures=FIGURES,
    goals=(Goal("READY and warm within 0.5 s", at_most(FIGURES[0], 0.5)),),
    drawn=("recovered",),
)

if __name__ == "__main__":
    run(QUESTION)
