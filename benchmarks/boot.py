"""How soon a pool serves, what it weighs, and how warm it is: litesup against LiteLLM's own preloading gunicorn.

    make bench BENCH_ARGS='--rounds 5'

Both run the same configuration file, in the same environment, with as many processes, in turns (the order changes from
round to round, so that neither always finds the caches of the other). litesup counts as ready when *every* replica is
READY, warm-up included; gunicorn already when the first `GET /health/readiness` is answered with 200. Memory is the
sum of PSS of every process that was started, litesup's daemon and fork server included: once when every replica or
worker has started, and again after the same requests. Nothing but the loopback interface is used.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks.machine import machine
from tests.daemon import MARK, Daemon, clean_environment, free_port, marked_processes
from tests.fake_azure import FakeAzure
from tests.load import REPLICA_HEADER

CONFIG = """\
model_list:
  - model_name: gpt-4
    litellm_params:
      model: azure/gpt-4o-2024-08-06
      api_base: {url}/
      api_version: "2024-08-01-preview"
      api_key: os.environ/AZURE_OPENAI_API_KEY

litellm_settings:
  drop_params: True
"""

BOOT_WITHIN = 120.0  # seconds
REQUESTS_EACH = 40  # per replica, one after another
STEADY_FROM = 10  # the requests before this one still warm something up
CHAT: dict[str, Any] = {"model": "gpt-4", "messages": [{"role": "user", "content": "ping"}]}


@dataclass(frozen=True, slots=True)
class Round:
    """One boot. Times in seconds, memory in bytes; `first` is the slowest first request of a replica."""

    who: str
    ready: float
    pss_idle: int
    pss_after_requests: int
    first: float
    steady: float


def pss(processes: Sequence[psutil.Process]) -> int:
    """The sum over these processes; one that has just ended counts nothing."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


async def timed(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> tuple[str | None, float]:
    """One chat completion: who answered, and after how many seconds."""
    started = time.perf_counter()
    async with session.post(f"{url}/chat/completions", json=CHAT, headers=headers) as response:
        text = await response.text()
        seconds = time.perf_counter() - started
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {text}")
        return response.headers.get(REPLICA_HEADER), seconds


async def requests(url: str, headers: dict[str, str], replicas: int) -> tuple[float, float]:
    """The slowest first request of any replica, and the median of the later ones, one request at a time.

    Who answered is known behind litesup only; elsewhere every request counts as one replica's. Each request has a
    connection of its own, because a kept one stays with one worker.
    """
    seen: dict[str | None, list[float]] = defaultdict(list)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        for _ in range(REQUESTS_EACH * replicas):
            who, seconds = await timed(session, url, headers)
            seen[who].append(seconds)
    steady = [seconds for each in seen.values() for seconds in each[STEADY_FROM:]]
    return max(each[0] for each in seen.values()), statistics.median(steady)


async def litesup(azure: FakeAzure, replicas: int, environment: dict[str, str]) -> Round:
    daemon = Daemon(CONFIG.format(url=azure.url), replicas=replicas, environment=environment)
    failure: BaseException | None = None
    try:
        started = time.perf_counter()
        await daemon.start()
        await daemon.until(lambda: daemon.count("replica_ready") >= replicas, BOOT_WITHIN, "every replica ready")
        ready = time.perf_counter() - started
        idle = pss(daemon.processes())
        await daemon.ready()
        first, steady = await requests(daemon.url, {}, replicas)
        return Round("litesup", ready, idle, pss(daemon.processes()), first, steady)
    except BaseException as error:
        failure = error
        raise
    finally:
        await daemon.clean_up(failure)


async def gunicorn(azure: FakeAzure, replicas: int, environment: dict[str, str], folder: Path) -> Round:
    config = folder / "litellm.config.yaml"
    config.write_text(CONFIG.format(url=azure.url))
    mark = secrets.token_hex(16)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = folder / "gunicorn.log"
    with log.open("wb") as output:
        started = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("litellm")),
            *("--config", str(config), "--host", "127.0.0.1", "--port", str(port)),
            *("--num_workers", str(replicas), "--run_gunicorn"),
            cwd=folder,
            env=clean_environment(folder) | environment | {MARK: mark},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )
    try:
        await answers(f"{url}/health/readiness", process)
        ready = time.perf_counter() - started
        await all_started(log, replicas)
        idle = pss(marked_processes(mark))
        headers = {"Authorization": f"Bearer {environment['LITELLM_MASTER_KEY']}"}
        first, steady = await requests(url, headers, replicas)
        return Round("gunicorn", ready, idle, pss(marked_processes(mark)), first, steady)
    except BaseException:
        print(log.read_text(errors="replace")[-4000:], file=sys.stderr)
        raise
    finally:
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 20)
        for left in marked_processes(mark):
            left.kill()
        await process.wait()


async def answers(url: str, process: asyncio.subprocess.Process) -> None:
    """Returns at the first 200; asked every 10 ms, which is the error of the measurement."""
    async with asyncio.timeout(BOOT_WITHIN), aiohttp.ClientSession() as session:
        while process.returncode is None:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.01)
    raise RuntimeError(f"ended with {process.returncode} before it answered")


async def all_started(log: Path, workers: int) -> None:
    """Returns when every worker has started: the first answer comes before the others weigh anything."""
    async with asyncio.timeout(BOOT_WITHIN):
        while log.read_text(errors="replace").count("Application startup complete") < workers:
            await asyncio.sleep(0.05)


def table(rounds: Sequence[Round]) -> str:
    """Medians side by side; the ratio is litesup's share of gunicorn's, so less than 1 is better."""
    rows = [
        ("ready (s)", "ready", 1.0, "{:.2f}"),
        ("memory, nothing served yet (MB)", "pss_idle", 1e6, "{:.0f}"),
        ("memory after requests (MB)", "pss_after_requests", 1e6, "{:.0f}"),
        ("slowest first request (ms)", "first", 1e-3, "{:.1f}"),
        ("steady request (ms)", "steady", 1e-3, "{:.1f}"),
    ]
    lines = [f"{'median of rounds':<34}{'litesup':>12}{'gunicorn':>12}{'ratio':>8}"]
    for title, name, unit, form in rows:
        ours, theirs = (
            statistics.median(getattr(each, name) for each in rounds if each.who == who) / unit
            for who in ("litesup", "gunicorn")
        )
        lines.append(f"{title:<34}{form.format(ours):>12}{form.format(theirs):>12}{ours / theirs:>8.2f}")
    warm = statistics.median(each.first / each.steady for each in rounds if each.who == "litesup")
    lines.append(f"litesup's slowest first request is {warm:.1f} x the steady median")
    return "\n".join(lines)


async def measure(count: int, replicas: int, folder: Path) -> list[Round]:
    environment = {
        "AZURE_OPENAI_API_KEY": "the-azure-key",
        "LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(24)}",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
    }
    rounds: list[Round] = []
    async with FakeAzure(api_key="the-azure-key") as azure:
        for number in range(count):
            for ours in (True, False) if number % 2 == 0 else (False, True):
                if ours:
                    last = await litesup(azure, replicas, environment)
                else:
                    last = await gunicorn(azure, replicas, environment, folder)
                rounds.append(last)
                print(f"round {number + 1}: {last.who:<9} ready after {last.ready:.2f} s", file=sys.stderr, flush=True)
    return rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, choices=range(1, 21), default=3, metavar="N", help="1 to 20 (default: 3)")
    parser.add_argument("--replicas", type=int, choices=range(1, 9), default=3, metavar="N", help="1 to 8 (default: 3)")
    parser.add_argument("--json", action="store_true", help="every round as JSON, instead of the table")
    options = parser.parse_args()

    where = machine()
    with tempfile.TemporaryDirectory(prefix="ls-bench-") as folder:
        rounds = asyncio.run(measure(options.rounds, options.replicas, Path(folder)))
    if options.json:
        print(json.dumps({"machine": where, "rounds": [asdict(each) for each in rounds]}, indent=2))
        return
    for name, value in where.items():
        print(f"{name:<12} {value}")
    print()
    print(table(rounds))


if __name__ == "__main__":
    main()
