"""What a stream costs on its way: litesup's balancer, nginx and HAProxy, one core each, 500 streams at once.

python -m benchmarks.streams [--rounds N] [--sides …] [--json]
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.attempt import attempt
from benchmarks.hop import HAPROXY, LOAD_CORE, NGINX_PROXY, PROXY_CORE, running, wait_for
from benchmarks.machine import find
from benchmarks.question import OURS, Figure, Goal, Question, Run, Verdict, in_turns, median, ratio, run, values
from tests.daemon import free_port

SIDES = (OURS, "haproxy", "nginx", "direct")
UPSTREAMS = 3
STREAMS = 500
RATE = 20  # events per second, of each
SECONDS = 8.0
WITHIN = SECONDS + 40.0  # for a side, with its start and the opening of its streams

MOST_ADDED = 2.0  # ms
MOST_TIMES_HAPROXY = 3.0
SATURATED = 95.0  # per cent of a core

Told = dict[str, Any]
"""What `stream_load` prints of a step."""


@contextlib.contextmanager
def proxy(side: str, sockets: Sequence[Path], folder: Path) -> Iterator[tuple[int, int]]:
    """The port of a proxy before these sockets, on its core, and its process."""
    port = free_port()
    with running(_command(side, port, sockets, folder), PROXY_CORE, PYTHONPATH=os.pathsep.join(sys.path)) as process:
        wait_for(port, process)
        yield port, process.pid


async def load(steps: str, seconds: float, sockets: Sequence[Path], to: tuple[int, int] | None) -> list[Told]:
    """Both ends of the streams, on the other core. Raises RuntimeError when one of them ended or did not begin.

    `to` is the port and the process of the proxy; None for no proxy.
    """
    command = [sys.executable, "-m", "benchmarks.stream_load", "--seconds", str(seconds), "--steps", *steps.split()]
    if to is not None:
        command += ["--to", str(to[0]), "--watch", str(to[1])]
    process = await asyncio.create_subprocess_exec(
        *("taskset", "--cpu-list", str(LOAD_CORE), *command, "--", *map(str, sockets)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        said, complained = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"the streams ended with {process.returncode}: {_last_line(complained)}")
    return [json.loads(line) for line in said.splitlines()]


def _last_line(text: bytes) -> str:
    return text.decode(errors="replace").strip().rpartition("\n")[2]


async def measure(rounds: int, sides: Sequence[str]) -> AsyncIterator[Run]:
    for number, side in in_turns(sides, rounds):
        yield await attempt(side, number, _measured(side), WITHIN)


async def _measured(side: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="ls-streams-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        sockets = [folder / f"u{number}.sock" for number in range(UPSTREAMS)]
        to = None if side == "direct" else stack.enter_context(proxy(side, sockets, folder))
        return figures((await load(f"{STREAMS}x{RATE}", SECONDS, sockets, to))[-1], proxied=to is not None)


def figures(told: Told, *, proxied: bool) -> dict[str, float]:
    """Of one step, in the units of FIGURES."""
    found = {
        "arrived": 100 * told["arrived"] / told["sent"],
        "rate": told["sent"] / told["seconds"],
        "median": told["median"] * 1e3,
        "p99": told["p99"] * 1e3,
        "together": told["arrived"] / told["reads"],
        "load": 100 * told["own"],
    }
    if proxied:
        found["cpu"] = 1e6 * told["cpu"] / told["arrived"]
        found["core"] = 100 * told["cpu"] / told["seconds"]
    return found


def _command(side: str, port: int, sockets: Sequence[Path], folder: Path) -> list[str]:
    match side:
        case "nginx":
            file = folder / "proxy.conf"
            servers = " ".join(f"server unix:{path};" for path in sockets)
            file.write_text(NGINX_PROXY.format(folder=folder, name="proxy", servers=servers, port=port))
            return [find("nginx") or "nginx", "-e", "stderr", "-p", str(folder), "-c", str(file)]
        case "haproxy":
            file = folder / "haproxy.cfg"
            servers = "\n    ".join(
                ["option http-no-delay", *(f"server r{n} unix@{path}" for n, path in enumerate(sockets))]
            )
            file.write_text(HAPROXY.format(port=port, servers=servers))
            return [find("haproxy") or "haproxy", "-db", "-q", "-f", str(file)]
        case _:
            return [sys.executable, "-m", "benchmarks.hop_front", str(port), *map(str, sockets)]


def judge_delay(runs: Sequence[Run]) -> Verdict:
    added = median(runs, OURS, "p99") - median(runs, "direct", "p99")
    beside = ", ".join(
        f"{side} {median(runs, side, 'p99') - median(runs, 'direct', 'p99'):.2f} ms"
        for side in ("haproxy", "nginx")
        if any(each.side == side for each in runs)
    )
    if max(values(runs, "direct", "load")) > SATURATED:
        return Verdict(None, "the load had no core to spare, so that delays are its own")
    return Verdict(added <= MOST_ADDED, f"{added:.2f} ms added" + (f"; {beside}" if beside else ""))


def judge_cost(runs: Sequence[Run]) -> Verdict:
    times = ratio(runs, OURS, "haproxy", "cpu")
    ours, theirs = median(runs, OURS, "cpu"), median(runs, "haproxy", "cpu")
    return Verdict(times <= MOST_TIMES_HAPROXY, f"{times:.2f} × ({ours:.1f} µs to {theirs:.1f} µs)")


def judge_complete(runs: Sequence[Run]) -> Verdict:
    least = min(values(runs, OURS, "arrived"))
    return Verdict(
        least == 100.0, f"{least:.4g} % of the events arrived, {median(runs, OURS, 'together'):.2f} per read"
    )


QUESTION = Question(
    name="streams",
    title=f"What {STREAMS} streams cost on their way",
    how=(
        f"{STREAMS} clients read a stream of server-sent events each, {RATE} events of 300 bytes a second, as OpenAI's "
        f"chat completions have them; {SECONDS:g} s. The proxy has one core. Both ends of the streams are one program "
        "on the other core: each event carries the time at which it was written, and its delay is taken when it is "
        "read. nginx has `proxy_buffering off`, HAProxy `option http-no-delay`, without which it holds events back "
        "for up to 0.2 s. *direct* is the same program without a proxy between its ends. Processor time is the "
        "proxy's own, as the kernel counts it."
    ),
    sides=SIDES,
    figures=(
        Figure("p99", "delay of an event, 99th percentile", "ms", "less"),
        Figure("median", "delay of an event, median", "ms", "less"),
        Figure("cpu", "processor time per event", "us", "less"),
        Figure("core", "the proxy's share of its core", "%", "less"),
        Figure("arrived", "events that arrived", "%", "more"),
        Figure("together", "events per read of a client", "", "less"),
        Figure("rate", "events sent", "1/s", "more"),
        Figure("load", "the load's share of its core", "%", "less"),
    ),
    goals=(
        Goal(f"the 99th percentile grows by at most {MOST_ADDED:g} ms on the way", judge_delay),
        Goal(f"processor time per event at most {MOST_TIMES_HAPROXY:g} × HAProxy's", judge_cost),
        Goal("no event is lost", judge_complete),
    ),
    measure=measure,
    rounds=2,
    budget=110.0,
    needs={"": ["taskset"], "haproxy": ["haproxy"], "nginx": ["nginx"]},
    cores=2,
    drawn=("p99", "cpu"),
)

if __name__ == "__main__":
    run(QUESTION)
