"""The job itself: chat completions through the real LiteLLM, in every way to run three of them.

python -m benchmarks.job
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack

from benchmarks.attempt import attempt, failed
from benchmarks.clients import Told, load
from benchmarks.goals import Judge
from benchmarks.peers import NEEDS, POOLS
from benchmarks.peers.pool import START_WITHIN, Pool, started
from benchmarks.provider import provider
from benchmarks.question import OURS, Figure, Goal, NotMeasured, Question, Run, Verdict, in_turns, median, run
from benchmarks.sitting import answered_all, work

CLIENTS = (1, 8, 64)
SECONDS, WARM_UP = 1.9, 0.4
WARMED_BY = 240  # requests of each kind after a start, 24 at a time
CASE_WITHIN = 30.0  # seconds; a request that is never answered must not hold up the others
LEAST = "litesup:least"
SIDES = (OURS, LEAST, "uvicorn", "gunicorn", "haproxy", "nginx")

FIGURES = (
    Figure("rate", "answers per second", "1/s", "more"),
    Figure("median", "median", "ms", "less"),
    Figure("p99", "p99", "ms", "less"),
    Figure("cpu", "processor time per answer", "ms", "less"),
    Figure("failed", "failed", "", "less"),
)


def case(clients: int, *, stream: bool) -> str:
    return f"{'streamed' if stream else 'plain'}, {clients} client{'s' if clients > 1 else ''}"


CASES = {case(clients, stream=stream): (clients, stream) for stream in (False, True) for clients in CLIENTS}


async def measure(rounds: int, sides: Sequence[str]) -> AsyncIterator[Run]:
    """All sides are up from the first round to the last, and at rest but for the one that is measured."""
    async with provider() as url, AsyncExitStack() as stack:
        pools: dict[str, Pool] = {}
        for side in sides:
            try:
                async with asyncio.timeout(START_WITHIN):
                    pools[side] = await _up(side, url, stack)
            except Exception as error:  # the others have their turns without it
                yield failed(side, 0, error)
        for number in range(rounds):
            for name, (clients, stream) in CASES.items():
                for _, side in (turn for turn in in_turns(list(pools), rounds) if turn[0] == number):
                    deed = _measured(pools[side], clients, stream=stream)
                    yield await attempt(side, number, deed, CASE_WITHIN, case=name)


async def _up(side: str, url: str, stack: AsyncExitStack) -> Pool:
    """Until the end of the stack; each LiteLLM has served before it is measured."""
    pool, _ = await stack.enter_async_context(started(POOLS[side], url))
    for stream in (False, True):
        warm = await load(work(pool, stream=stream, connections=24, requests=WARMED_BY))
        if side in {OURS, LEAST}:
            answered_all(warm, WARMED_BY)
    return pool


async def _measured(pool: Pool, clients: int, *, stream: bool) -> dict[str, float]:
    before = cpu(pool)
    told = await load(work(pool, stream=stream, connections=clients, seconds=SECONDS, warm_up=WARM_UP))
    return figures(told, cpu(pool) - before)


def cpu(pool: Pool) -> float:
    """Seconds of processor time that its processes have used so far."""
    return sum(sum(process.cpu_times()[:2]) for process in pool.processes())


def figures(told: Told, used: float) -> dict[str, float]:
    """`used` are the seconds of processor time from before the warm-up to after the last answer."""
    every = told.answered * (told.seconds + WARM_UP) / told.seconds
    return {
        "rate": told.rate,
        "median": told.quantile(0.5) * 1e3,
        "p99": told.quantile(0.99) * 1e3,
        "cpu": used / every * 1e3,
        "failed": told.failed + told.cut,
    }


def beside_best(figure: str, best: Callable[[list[float]], float], met: Callable[[float], bool]) -> Judge:
    """litesup's median to that of the best peer in each case; met when it is so in every case, with its defaults.

    What LEAST comes to is said beside it.
    """

    def shares(runs: Sequence[Run], ours: str) -> dict[str, float]:
        found = {}
        for name in CASES:
            present = {each.side for each in runs if each.case == name and each.side not in {OURS, LEAST}}
            if not present:
                raise NotMeasured(f"no peer with {name}")
            peers = [median(runs, side, figure, name) for side in present]
            found[name] = median(runs, ours, figure, name) / best(peers)
        return found

    def judge(runs: Sequence[Run]) -> Verdict:
        ours = shares(runs, OURS)
        text = _in_words(ours)
        with contextlib.suppress(NotMeasured):
            text += f" (least_outstanding: {_in_words(shares(runs, LEAST))})"
        return Verdict(all(met(share) for share in ours.values()), text)

    return judge


def _in_words(shares: Mapping[str, float]) -> str:
    kinds = dict.fromkeys(name.partition(",")[0] for name in shares)
    return "; ".join(
        f"{kind} {', '.join(f'{share:.2f} ×' for name, share in shares.items() if name.startswith(kind))}"
        for kind in kinds
    )


BESIDE_WORKERS = (
    "LiteLLM's own workers take connections from one socket: nothing lies between, and a client that keeps its "
    "connection keeps its worker. litesup's default, `round_robin`, hands requests to one replica after the other, and "
    "each finds the processor's caches full of what another did: 7.6 ms of processor time for a plain answer to one "
    "client instead of 6.3, and 7.1 instead of 6.5 with eight. HAProxy's and nginx's figures say the same. "
    "`least_outstanding` asks the replica that was asked last, as far as it is among the least busy; its replicas "
    "cost what gunicorn's workers do. What is left then is the hop and the log, 0.3 to 0.4 ms of the daemon's for "
    "each answer, on the two cores that the LiteLLMs need as well "
    "([decision 2](decisions/0002-fork-server.md), “In turns”; "
    "[decision 11](decisions/0011-what-the-hop-costs.md))."
)

QUESTION = Question(
    name="job",
    title="The job: chat completions through LiteLLM",
    how=(
        "Three LiteLLMs behind one port, six ways: litesup with its defaults, by which requests go around the "
        "replicas; litesup with `balancer.policy: least_outstanding` (“litesup:least”), by which they go to the "
        "least busy one, and among equals to the one that was asked last; LiteLLM's `--num_workers 3` (uvicorn) and "
        "`--num_workers 3 --run_gunicorn`; three plain ones with `--keepalive_timeout 120` behind HAProxy "
        "(least connections, checks of `/health/liveliness`) and behind nginx (least connections, connections "
        "kept). One YAML, one environment, each side's log in a file. 1, 8 and 64 clients on kept connections "
        "each send the next request when the last answer is complete, to a provider that answers at once, "
        f"plain or with 20 chunks; {SECONDS:g} s are counted after {WARM_UP:g} s of warm-up. All sides are up "
        "and have served before the first round, and only one works at a time. The provider, the clients and "
        "the balancers share two cores with the LiteLLMs, so whatever a side needs beside LiteLLM is taken "
        "from its own throughput."
    ),
    sides=SIDES,
    figures=FIGURES,
    goals=(
        Goal(
            "throughput at least that of the best peer, with 1, 8 and 64 clients",
            beside_best("rate", max, lambda share: share >= 1.0),
            unmet=BESIDE_WORKERS,
        ),
        Goal(
            "p99 at most 0.9 × that of the best peer, with 1, 8 and 64 clients",
            beside_best("p99", min, lambda share: share <= 0.9),
            unmet=BESIDE_WORKERS,
        ),
    ),
    measure=measure,
    budget=470.0,
    needs=NEEDS,
    cores=2,
    drawn=("rate", "p99"),
)

if __name__ == "__main__":
    run(QUESTION)
