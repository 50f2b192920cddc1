"""What more of everything costs: replicas, open streams, models in the configuration.

python -m benchmarks.growth [--of replicas streams models] [--rounds N] [--json]
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import command
from benchmarks.attempt import attempt, failed
from benchmarks.cost import processor_seconds, pss
from benchmarks.question import OURS, Figure, Goal, NotMeasured, Question, Run, Verdict, median
from benchmarks.slope import Point, knee
from benchmarks.streams import UPSTREAMS, Told, load, proxy
from tests.command import run
from tests.daemon import ROOT, Daemon, clean_environment

REPLICAS = (1, 2, 4, 8, 12, 16)
STREAMS = (1, 125, 500, 1000, 2500, 5000)
MODELS = (1, 50, 100, 150, 200)
SERVED = (1, 100, 200)
"""Models in a configuration that the real LiteLLM serves: each takes a boot and a roll-out."""

IDLE = 8.0  # seconds
SETTLED_AFTER = 2.0
NOBODY_WARMS_UP = 0.1  # seconds; replicas that are not LiteLLM have nothing to warm
STREAMED = 3.0  # seconds
ALL_EVENTS = 2500.0  # per second, of all streams together, so that what is compared is their number
MOST_EVENTS = 20.0  # per second, of one stream
TRIES = 3
WITHIN = 120.0  # seconds, for one size of one thing

MOST_PER_STREAM = 30.0  # kB
MOST_RISE = 1.25
"""Of the processor time per event, from the fewest streams with all events to the most."""

FAKE = "model_list:\n  - model_name: fake\n    litellm_params: {model: openai/fake, api_key: none}\n"
MODEL = """\
  - model_name: gpt-4-{number}
    litellm_params:
      model: azure/gpt-4o-{number}
      api_base: http://127.0.0.1:9/
      api_version: "2024-08-01-preview"
      api_key: os.environ/AZURE_OPENAI_API_KEY
      max_retries: {retries}
"""


@dataclass(frozen=True, slots=True)
class Evenly:
    """A figure that has to grow evenly with the size of something. `noise` in its unit: less than that is nothing."""

    figure: str
    along: str
    noise: float


EVENLY = (
    Evenly("boot", "replicas", 0.25),
    Evenly("core", "replicas", 0.3),
    Evenly("pss", "replicas", 1.5),
    Evenly("weight", "streams", 4.0),
    Evenly("check", "models", 0.15),
    Evenly("render", "models", 0.15),
    Evenly("served", "models", 1.0),
    Evenly("reload", "models", 1.0),
    Evenly("replica", "models", 4.0),
)


async def of_replicas(number: int) -> AsyncGenerator[Run, None]:
    for count in REPLICAS:
        yield await attempt(OURS, number, _idle(count), WITHIN, case=case(count, "replica"))


async def _idle(count: int) -> dict[str, float]:
    daemon = Daemon(FAKE, replicas=count, settings={"replicas": {"warm_up_timeout": NOBODY_WARMS_UP}})
    daemon.command = [sys.executable, "-m", "tests.faults.program"]
    daemon.environment["PYTHONPATH"] = str(ROOT)
    began = time.monotonic()
    async with daemon:
        ready = time.monotonic() - began
        await asyncio.sleep(SETTLED_AFTER)
        used, began = processor_seconds(daemon.pid), time.monotonic()
        await asyncio.sleep(IDLE)
        core = 100 * (processor_seconds(daemon.pid) - used) / (time.monotonic() - began)
        return {"boot": ready, "core": core, "pss": pss([daemon.pid])}


async def of_streams(number: int) -> AsyncGenerator[Run, None]:
    try:
        async with asyncio.timeout(WITHIN):
            told = await _streamed()
    except Exception as error:  # all sizes are of one process, and fail together
        yield failed(OURS, number, error, case=case(STREAMS[-1], "stream"))
        return
    for each in told:
        figures = {"weight": each["pss"]}
        if each["streams"] * MOST_EVENTS >= ALL_EVENTS:  # a loop that wakes up for one event at a time does more for it
            figures["cpu"] = 1e6 * each["cpu"] / each["arrived"]
        yield Run(OURS, number, figures, case(each["streams"], "stream"))


async def _streamed() -> list[Told]:
    with tempfile.TemporaryDirectory(prefix="ls-growth-") as name:
        folder = Path(name)
        sockets = [folder / f"u{each}.sock" for each in range(UPSTREAMS)]
        steps = " ".join(f"{count}x{min(MOST_EVENTS, ALL_EVENTS / count):g}" for count in STREAMS)
        with proxy(OURS, sockets, folder) as to:
            return await load(steps, STREAMED, sockets, to)


async def of_models(number: int) -> AsyncGenerator[Run, None]:
    for count in MODELS:
        yield await attempt(OURS, number, _configured(count), WITHIN, case=case(count, "model"))


async def _configured(models: int) -> dict[str, float]:
    check, render = await _commands(models)
    return {"check": check, "render": render} | (await _served(models) if models in SERVED else {})


async def _commands(models: int) -> tuple[float, float]:
    """Seconds of `litesup check` and of `litesup render`, each the best of a few: others only add to it."""
    with tempfile.TemporaryDirectory(prefix="ls-growth-") as name:
        folder = Path(name)
        file = folder / "litellm.config.yaml"
        file.write_text(configuration(models))
        environment = clean_environment(folder) | {"AZURE_OPENAI_API_KEY": "none"}
        best = []
        for each in ("check", "render"):
            took = []
            for _ in range(TRIES):
                began = time.monotonic()
                finished = await run([each, str(file)], environment, folder, within=WITHIN)
                took.append(time.monotonic() - began)
                if finished.code:
                    raise RuntimeError(f"litesup {each} ended with {finished.code}: {finished.output[-2000:]}")
            best.append(min(took))
    return best[0], best[1]


async def _served(models: int) -> dict[str, float]:
    """What the real LiteLLM makes of it: until it serves, until a change of every model serves, and its memory."""
    daemon = Daemon(configuration(models), replicas=1, environment={"AZURE_OPENAI_API_KEY": "none"})
    began = time.monotonic()
    async with daemon:
        served = time.monotonic() - began
        replica = await daemon.replica(1)
        private = psutil.Process(int(replica["pid"])).memory_full_info().uss / 1e6
        daemon.save(configuration(models, retries=3))
        began = time.monotonic()
        finished = await daemon.run("reload", "--wait", within=WITHIN)
        if finished.code:
            raise RuntimeError(f"litesup reload ended with {finished.code}: {finished.output[-2000:]}")
        return {"served": served, "reload": time.monotonic() - began, "replica": private}


def configuration(models: int, retries: int = 2) -> str:
    return "model_list:\n" + "".join(MODEL.format(number=number, retries=retries) for number in range(models))


def case(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"


GROWTH = {"replicas": of_replicas, "streams": of_streams, "models": of_models}


@dataclass(frozen=True, slots=True)
class Growing:
    """`measure` of a question about these kinds of growth."""

    kinds: Sequence[str]

    async def __call__(self, rounds: int, _sides: Sequence[str]) -> AsyncGenerator[Run, None]:
        for number in range(rounds):
            for kind in self.kinds:
                async with contextlib.aclosing(GROWTH[kind](number)) as growing:
                    async for each in growing:
                        yield each


def points(runs: Sequence[Run], figure: str, along: str) -> list[Point]:
    """Medians, by size. Raises NotMeasured where there is none."""
    sizes = {size: run.case for run in runs if run.figures for size, what in [size_of(run.case)] if what == along}
    found = [
        Point(size, median(runs, OURS, figure, case))
        for size, case in sorted(sizes.items())
        if any(run.case == case and figure in run.figures for run in runs)
    ]
    if not found:
        raise NotMeasured(f"{figure} of any number of {along}")
    return found


def size_of(case: str) -> tuple[int, str]:
    """How many of what, in the plural."""
    number, _, what = case.partition(" ")
    return int(number.replace(",", "")), f"{what.removesuffix('s')}s"


def judge_evenly(runs: Sequence[Run]) -> Verdict:
    """No figure has a knee. Raises NotMeasured only where nothing at all can be judged."""
    bent, judged, lacking = [], [], []
    for each in EVENLY:
        try:
            found = knee(points(runs, each.figure, each.along), each.noise)
        except NotMeasured as why:
            lacking.append(str(why))
            continue
        figure = next(figure for figure in FIGURES if figure.name == each.figure)
        judged.append(figure.title)
        if found is not None:
            bent.append(
                f"{figure.title}: {found.slope:.3g} {figure.unit} each from {found.since:,.0f} to {found.until:,.0f} "
                f"{each.along}, {found.usual:.3g} {figure.unit} elsewhere"
            )
    if bent:
        return Verdict(False, "; ".join(bent))
    if not judged:
        raise NotMeasured("; ".join(lacking))
    return Verdict(True, "no knee in " + ", ".join(judged))


def judge_stream_memory(runs: Sequence[Run]) -> Verdict:
    found = points(runs, "weight", "streams")
    if len(found) < 2:
        raise NotMeasured("one number of streams tells nothing about each")
    each = 1e3 * (found[-1].value - found[0].value) / (found[-1].size - found[0].size)
    return Verdict(each <= MOST_PER_STREAM, f"{each:.1f} kB each, up to {found[-1].size:,.0f} streams")


def judge_stream_cost(runs: Sequence[Run]) -> Verdict:
    found = points(runs, "cpu", "streams")
    if len(found) < 2:
        raise NotMeasured("processor time per event of more than one number of streams")
    rise = found[-1].value / found[0].value
    text = ", ".join(f"{each.value:.1f} µs with {each.size:,.0f}" for each in found)
    return Verdict(rise <= MOST_RISE, f"{rise:.2f} × ({text})")


FIGURES = (
    Figure("boot", "until all replicas serve", "s", "less"),
    Figure("core", "the daemon's share of a core, idle", "%", "less"),
    Figure("pss", "the daemon's memory, idle", "MB", "less"),
    Figure("weight", "the balancer's memory", "MB", "less"),
    Figure("cpu", "processor time per event", "us", "less"),
    Figure("check", "litesup check", "s", "less"),
    Figure("render", "litesup render", "s", "less"),
    Figure("served", "until the first replica serves", "s", "less"),
    Figure("reload", "until a change serves", "s", "less"),
    Figure("replica", "a replica's private memory", "MB", "less"),
)


MANY_STREAMS = (
    "Nothing goes over all streams any more: the balancer used to look for clients who had left among all connections, "
    "four times a second, and an event among 5,000 streams cost 1.66 × as much; now it looks among those from which "
    "nothing is read. What is left is memory's distance. Counted exactly, an event takes 21,000 instructions in user "
    "space with 125 streams and 21,100 with 5,000, collections and timers included, and the loop wakes up 0.35 times "
    "for it with either; but 41 times it reaches for memory that is not in a cache of 1 MB, instead of 3 times: "
    "a stream has 15 kB, and comes again when all others have been. Two thirds of an event's time is the kernel's, "
    "which has two sockets for each stream. HAProxy's event grows with it: by 1.07 and 1.35 × in two runs beside two "
    "of litesup's, by 1.27 and 1.14 × ([decision 11](decisions/0011-what-the-hop-costs.md))."
)


def question(kinds: Sequence[str] = tuple(GROWTH)) -> Question:
    return Question(
        name="growth",
        title="What more of everything costs",
        how=(
            f"Replicas: a daemon with up to {REPLICAS[-1]} replicas that are not LiteLLM, so that what is seen is its "
            f"own share; idle for {IDLE:g} s. Streams: the balancer with up to {STREAMS[-1]:,} open streams, with "
            f"{ALL_EVENTS:,.0f} events a second among them (one alone has {MOST_EVENTS:g}). Models: a configuration "
            f"with up to {MODELS[-1]}; the commands alone, best of {TRIES}, and with the real LiteLLM one replica, "
            "from nothing and through a change of every model (`settle` included). Even growth: no step adds more than "
            "twice as much for each as the middle one of all steps, unless that is within the noise of the measurement."
        ),
        sides=(OURS,),
        figures=FIGURES,
        goals=(
            Goal("everything grows evenly", judge_evenly),
            Goal(f"an open stream takes at most {MOST_PER_STREAM:g} kB", judge_stream_memory),
            Goal(
                f"an event costs at most {MOST_RISE:g} × as much among many streams",
                judge_stream_cost,
                unmet=MANY_STREAMS,
            ),
        ),
        measure=Growing(kinds),
        rounds=1,
        budget=185.0,
        needs={"": ["taskset"]},
        cores=2,
        growth=True,
    )


QUESTION = question()


def main() -> None:
    told = f"KIND …  what grows, some of: {' '.join(GROWTH)}"
    command.main_with("--of", told, question, nargs="+", choices=tuple(GROWTH), default=tuple(GROWTH))


if __name__ == "__main__":
    main()
