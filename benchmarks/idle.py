"""What supervising costs while nobody asks for anything: litesup beside supervisord and pm2, at the same time.

python -m benchmarks.idle [--seconds 300] [--sides …] [--json]
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import command
from benchmarks.attempt import failed
from benchmarks.cost import processor_seconds, pss
from benchmarks.machine import find
from benchmarks.peers.pool import config_text
from benchmarks.question import OURS, Figure, Goal, Question, Run, Verdict, median
from tests.daemon import Daemon, clean_environment
from tests.eventually import eventually

SIDES = (OURS, "supervisord", "pm2")
CHILDREN = 3
SECONDS = 300.0
SETTLED_AFTER = 5.0  # seconds; what starting leaves to be done is not idling
UP_WITHIN = 60.0

MOST_CORE = 0.5  # per cent
MOST_PSS = 60.0  # MB

SUPERVISORD = """
[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
[unix_http_server]
file={folder}/supervisord.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:idle]
command=sleep infinity
numprocs={children}
process_name=%(program_name)s_%(process_num)d
"""


@dataclass(frozen=True, slots=True)
class Part:
    """Some processes of a side, and what their figures are called."""

    name: str
    pids: tuple[int, ...]


@contextlib.asynccontextmanager
async def litesup(_folder: Path) -> AsyncIterator[list[Part]]:
    """The real LiteLLM; nobody is behind it, because nobody is asked."""
    daemon = Daemon(config_text("http://127.0.0.1:9"), replicas=CHILDREN, environment={"AZURE_OPENAI_API_KEY": "none"})
    async with daemon:
        document = await daemon.settled()
        replicas = tuple(int(each["pid"]) for each in document["replicas"])
        others = {each.pid for each in daemon.processes()} - {daemon.pid, *replicas}
        yield [Part("daemon", (daemon.pid,)), Part("fork_server", tuple(others)), Part("replicas", replicas)]


@contextlib.asynccontextmanager
async def supervisord(folder: Path) -> AsyncIterator[list[Part]]:
    file = folder / "supervisord.conf"
    file.write_text(SUPERVISORD.format(folder=folder, children=CHILDREN))
    async with _started([find("supervisord") or "supervisord", "-c", str(file)], folder) as process:
        await _children(process.pid)
        yield [Part("daemon", (process.pid,))]


@contextlib.asynccontextmanager
async def pm2(folder: Path) -> AsyncIterator[list[Part]]:
    file = folder / "pm2.json"
    apps = [
        {"name": f"idle-{n}", "script": shutil.which("sleep"), "args": "infinity", "interpreter": "none"}
        for n in range(CHILDREN)
    ]
    file.write_text(json.dumps({"apps": apps}))
    program = find("pm2") or "pm2"
    try:
        async with _started([program, "start", str(file)], folder) as process:
            if await asyncio.wait_for(process.wait(), UP_WITHIN):
                raise RuntimeError(f"pm2 did not start: {(folder / 'output').read_text()[-2000:]}")
        daemon = int((folder / "pm2" / "pm2.pid").read_text())
        await _children(daemon)
        yield [Part("daemon", (daemon,))]
    finally:
        async with _started([program, "kill"], folder) as process:
            await asyncio.wait_for(process.wait(), UP_WITHIN)


@contextlib.asynccontextmanager
async def _started(arguments: Sequence[str], folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Ended with the block. Its environment has nothing of ours: supervisord's Python package is called as ours is."""
    with (folder / "output").open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            cwd=folder,
            env=clean_environment(folder) | {"PATH": os.environ["PATH"], "PYTHONPATH": "", "PM2_HOME": f"{folder}/pm2"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 15)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _children(pid: int) -> None:
    """Returns when the supervisor has as many as it should have."""
    await eventually(
        lambda: psutil.pid_exists(pid) and len(psutil.Process(pid).children()) >= CHILDREN,
        within=UP_WITHIN,
        what="the children of the supervisor",
    )


STARTS = {OURS: litesup, "supervisord": supervisord, "pm2": pm2}


@dataclass(frozen=True, slots=True)
class Idling:
    """`measure` of a question that takes so many seconds a round."""

    seconds: float

    async def __call__(self, rounds: int, sides: Sequence[str]) -> AsyncIterator[Run]:
        for number in range(rounds):
            async with contextlib.AsyncExitStack() as stack:
                parts = {}
                for side in sides:
                    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ls-idle-")))
                    try:
                        async with asyncio.timeout(UP_WITHIN):
                            parts[side] = await stack.enter_async_context(STARTS[side](folder))
                    except Exception as error:  # the others idle without it
                        yield failed(side, number, error)
                await asyncio.sleep(SETTLED_AFTER)
                before = {side: _used(each) for side, each in parts.items()}
                began = asyncio.get_running_loop().time()
                await asyncio.sleep(self.seconds)
                took = asyncio.get_running_loop().time() - began
                after = {side: _used(each) for side, each in parts.items()}
                weights = {side: {part.name: pss(part.pids) for part in each} for side, each in parts.items()}
            for side in parts:
                yield Run(side, number, figures(before[side], after[side], took, weights[side]))


def _used(parts: Sequence[Part]) -> dict[str, float]:
    return {part.name: sum(processor_seconds(pid) for pid in part.pids) for part in parts}


def figures(
    before: Mapping[str, float], after: Mapping[str, float], seconds: float, weights: Mapping[str, float]
) -> dict[str, float]:
    """Processor seconds before and after, and MB, by part."""
    found = {f"{name}_core": 100 * (after[name] - used) / seconds for name, used in before.items()}
    return found | {f"{name}_pss": weight for name, weight in weights.items()}


def judge_core(runs: Sequence[Run]) -> Verdict:
    share = median(runs, OURS, "daemon_core")
    return Verdict(share <= MOST_CORE, f"{share:.2f} %")


def judge_memory(runs: Sequence[Run]) -> Verdict:
    weight = median(runs, OURS, "daemon_pss")
    return Verdict(weight <= MOST_PSS, f"{weight:.1f} MB")


def question(seconds: float = SECONDS) -> Question:
    return Question(
        name="idle",
        title="What supervising costs while nobody asks for anything",
        how=(
            f"{CHILDREN} replicas of the real LiteLLM under litesup, no requests, {seconds:g} s; at the same time "
            f"supervisord (Debian's package) and pm2 (from npm), each with {CHILDREN} children that sleep. Processor "
            "time as the kernel counts it, memory as PSS at the end. The daemon of litesup probes each replica every "
            "2 s, watches the configuration and is the load balancer as well; those of supervisord and pm2 wait for "
            "an exit."
        ),
        sides=SIDES,
        figures=(
            Figure("daemon_core", "the daemon's share of a core", "%", "less"),
            Figure("daemon_pss", "the daemon's memory", "MB", "less"),
            Figure("fork_server_core", "the fork server's share of a core", "%", "less"),
            Figure("fork_server_pss", "the fork server's memory", "MB", "less"),
            Figure("replicas_core", "all replicas' share of a core", "%", "less"),
            Figure("replicas_pss", "all replicas' memory", "MB", "less"),
        ),
        goals=(
            Goal(f"the daemon takes at most {MOST_CORE:g} % of a core", judge_core),
            Goal(f"the daemon's memory is at most {MOST_PSS:g} MB", judge_memory),
        ),
        measure=Idling(seconds),
        rounds=1,
        budget=seconds + 35,
        needs={"supervisord": ["supervisord"], "pm2": ["pm2"]},
        drawn=("daemon_core", "daemon_pss"),
    )


QUESTION = question()


def main() -> None:
    told = f"S  how long nobody asks for anything (default: {SECONDS:g})"
    command.main_with("--seconds", told, question, type=float, default=SECONDS)


if __name__ == "__main__":
    main()
