"""What the hop through the balancer costs: litesup, nginx and HAProxy, one core each, before the same fast upstream.

    python -m benchmarks.hop --rounds 3 --seconds 4 --connections 1 64
    python -m benchmarks.hop --sides litesup relay          beside a prototype

The upstream is nginx answering by itself on three unix sockets; it and the load (wrk, POST of a small chat request)
have one core, the proxy that is measured has the other. CPU per request is the proxy's own, user and system: it is
what holds still when others use the machine. Sides that have to be named are prototypes (`benchmarks/prototypes`):
they say what could be. Needs nginx, haproxy and wrk (Debian's packages nginx-light, haproxy and wrk). Nothing but the
loopback interface is used.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil

from benchmarks import command
from benchmarks.attempt import failed
from benchmarks.machine import find
from benchmarks.question import OURS, Figure, Goal, NotMeasured, Question, Run, Verdict, in_turns, median, ratio, values
from tests.daemon import free_port

SIDES = (OURS, "nginx", "haproxy", "direct")
FRONTS = {
    OURS: ("benchmarks.hop_front",),
    "relay": ("benchmarks.prototypes.relay",),
    "by-hand": ("benchmarks.prototypes.by_hand",),
    "aiohttp-only": ("benchmarks.prototypes.aiohttp_only",),
}
"""What is started as `python -m … PORT SOCKET...`: the product, and prototypes that say what could be."""
CONNECTIONS = (1, 64, 512)
SECONDS = 3.0  # of load in each run
UPSTREAMS = 3
PROXY_CORE, LOAD_CORE = 0, 1
UP_WITHIN = 20.0  # seconds

LEAST_OF_HAPROXY = 0.4
MOST_TIMES_P99 = 2.0
MOST_ADDED = 110.0  # us

ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-4o",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "pong " * 40}, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 8, "completion_tokens": 40, "total_tokens": 48},
    }
)
CHAT = {"model": "gpt-4", "messages": [{"role": "user", "content": "ping"}]}

WRK = """
wrk.method = "POST"
wrk.body = '{body}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer sk-client"
wrk.headers["Accept"] = "application/json"
wrk.headers["User-Agent"] = "OpenAI/JS 4.0.0"
"""

NGINX_COMMON = """
daemon off;
master_process off;
error_log stderr crit;
pid {folder}/{name}.pid;
events {{ worker_connections 4096; }}
"""

NGINX_UPSTREAM = (
    NGINX_COMMON
    + """
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/{name}-body;
    proxy_temp_path {folder}/{name}-proxy;
    fastcgi_temp_path {folder}/{name}-f; uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s;
    server {{
        {listen}
        location / {{ default_type application/json; return 200 '{answer}'; }}
    }}
}}
"""
)

NGINX_PROXY = (
    NGINX_COMMON
    + """
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/{name}-body;
    proxy_temp_path {folder}/{name}-proxy;
    fastcgi_temp_path {folder}/{name}-f; uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s;
    upstream replicas {{ {servers} keepalive 600; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://replicas;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_buffering off;
        }}
    }}
}}
"""
)

HAPROXY = """
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
    option forwardfor
listen front
    bind 127.0.0.1:{port}
    {servers}
"""


@contextlib.contextmanager
def running(command: Sequence[str], core: int, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process on one core, ended with the block."""
    process = subprocess.Popen(
        _on_core(core, command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=os.environ | environment
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _on_core(core: int, command: Sequence[str]) -> list[str]:
    return ["taskset", "--cpu-list", str(core), *command]


def wait_for(address: int | Path, process: subprocess.Popen[bytes]) -> None:
    """Returns when something listens there. Raises RuntimeError when it does not within UP_WITHIN."""
    deadline = time.monotonic() + UP_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
        with contextlib.suppress(OSError), socket.socket(family) as probe:
            probe.connect(str(address) if isinstance(address, Path) else ("127.0.0.1", address))
            return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on {address}: {process.args!r} ended with {process.returncode}")


class Stage:
    """The upstream, and whichever proxy is measured in front of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sockets = [folder / f"u{number}.sock" for number in range(UPSTREAMS)]
        (folder / "wrk.lua").write_text(WRK.format(body=json.dumps(CHAT)))

    @contextlib.contextmanager
    def upstream(self) -> Iterator[None]:
        listen = "".join(f"listen unix:{path};" for path in self.sockets)
        for path in self.sockets:
            path.unlink(missing_ok=True)
        with running(self._nginx("upstream", NGINX_UPSTREAM, listen=listen, answer=ANSWER), LOAD_CORE) as process:
            wait_for(self.sockets[-1], process)
            yield

    @contextlib.contextmanager
    def proxy(self, side: str) -> Iterator[tuple[int, psutil.Process]]:
        """The port to send the load to, and the process that is measured.

        For `direct` an upstream of its own stands where the proxies stand: whoever is there is woken from the other
        core, and what that costs is no proxy's.
        """
        port = free_port()
        with running(self._command(side, port), PROXY_CORE, PYTHONPATH=os.pathsep.join(sys.path)) as process:
            wait_for(port, process)
            yield port, psutil.Process(process.pid)

    def load(self, port: int, connections: int, seconds: float) -> tuple[float, float, float, int]:
        """Requests per second, median and 99th percentile in seconds, and failures, of wrk on its core."""
        wrk = [find("wrk") or "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "--timeout", "10s"]
        wrk += ["-s", str(self.folder / "wrk.lua"), f"http://127.0.0.1:{port}/v1/chat/completions"]
        done = subprocess.run(
            _on_core(LOAD_CORE, wrk), check=True, capture_output=True, text=True, timeout=seconds + UP_WITHIN
        )
        return _parsed(done.stdout)

    def _command(self, side: str, port: int) -> list[str]:
        match side:
            case "direct":
                return self._nginx("direct", NGINX_UPSTREAM, listen=f"listen 127.0.0.1:{port};", answer=ANSWER)
            case "nginx":
                servers = " ".join(f"server unix:{path};" for path in self.sockets)
                return self._nginx("proxy", NGINX_PROXY, servers=servers, port=str(port))
            case "haproxy":
                servers = "\n    ".join(f"server r{n} unix@{path}" for n, path in enumerate(self.sockets))
                file = self.folder / "haproxy.cfg"
                file.write_text(HAPROXY.format(port=port, servers=servers))
                return [find("haproxy") or "haproxy", "-db", "-q", "-f", str(file)]
            case _:
                return [sys.executable, "-m", *FRONTS[side], str(port), *map(str, self.sockets)]

    def _nginx(self, name: str, template: str, **values: str) -> list[str]:
        file = self.folder / f"{name}.conf"
        file.write_text(template.format(folder=self.folder, name=name, **values))
        return [find("nginx") or "nginx", "-e", "stderr", "-p", str(self.folder), "-c", str(file)]


def _parsed(text: str) -> tuple[float, float, float, int]:
    units = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

    def quantile(name: str) -> float:
        # Behind a unit of one letter wrk writes a space, so that the columns stand below each other.
        found = re.search(rf"^ +{name}% +([\d.]+)(us|ms|s|m|h) *$", text, re.MULTILINE)
        assert found is not None, text
        return float(found[1]) * units[found[2]]

    rate = re.search(r"^Requests/sec: +([\d.]+)$", text, re.MULTILINE)
    assert rate is not None, text
    failed = sum(int(each) for each in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    failed += sum(int(each) for each in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    return float(rate[1]), quantile("50"), quantile("99"), failed


def measure(
    rounds: int, sides: Sequence[str], *, seconds: float = SECONDS, connections: Sequence[int] = CONNECTIONS
) -> Iterator[Run]:
    with tempfile.TemporaryDirectory(prefix="ls-hop-") as folder:
        stage = Stage(Path(folder))
        with stage.upstream():
            for number, side in in_turns(sides, rounds):
                try:
                    yield from _one(stage, side, number, seconds, connections)
                except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                    yield failed(side, number, error)


def _one(stage: Stage, side: str, number: int, seconds: float, connections: Sequence[int]) -> Iterator[Run]:
    with stage.proxy(side) as (port, process):
        stage.load(port, 16, 1.0)  # nobody is measured cold
        for many in connections:
            before = _cpu(process)
            rate, middle, p99, failures = stage.load(port, many, seconds)
            cpu = (_cpu(process) - before) / max(1.0, rate * seconds)
            figures = {"rate": rate, "median": middle * 1e6, "p99": p99 * 1e3, "cpu": cpu * 1e6}
            yield Run(side, number, figures | {"failed": float(failures)}, case(many))


def _cpu(process: psutil.Process) -> float:
    """Seconds that it has used so far, in its own code and in the kernel."""
    times = process.cpu_times()
    return float(times.user + times.system)


def case(connections: int) -> str:
    return f"{connections} connection{'s' if connections != 1 else ''}"


def _everywhere(runs: Sequence[Run], figure: str) -> dict[int, float]:
    """Ours to HAProxy's, by the number of connections. A failed request spoils the figures of its run."""
    found = {many: ratio(runs, OURS, "haproxy", figure, case(many)) for many in CONNECTIONS}
    for many in CONNECTIONS:
        for side in (OURS, "haproxy"):
            if failed := sum(values(runs, side, "failed", case(many))):
                raise NotMeasured(f"{failed:.0f} requests of {side} failed with {case(many)}")
    return found


def judge_throughput(runs: Sequence[Run]) -> Verdict:
    found = _everywhere(runs, "rate")
    return Verdict(all(each >= LEAST_OF_HAPROXY for each in found.values()), _listed(found))


def judge_p99(runs: Sequence[Run]) -> Verdict:
    found = _everywhere(runs, "p99")
    return Verdict(all(each <= MOST_TIMES_P99 for each in found.values()), _listed(found))


def judge_added(runs: Sequence[Run]) -> Verdict:
    direct = median(runs, "direct", "median", case(1))
    added = {
        side: median(runs, side, "median", case(1)) - direct
        for side in SIDES
        if side != "direct" and any(run.side == side for run in runs)
    }
    if OURS not in added:
        raise NotMeasured(f"no run of {OURS}")
    beside = "".join(f"; {side} {each:.0f} µs" for side, each in added.items() if side != OURS)
    return Verdict(added[OURS] <= MOST_ADDED, f"{added[OURS]:.0f} µs{beside}")


def judge_failed(runs: Sequence[Run]) -> Verdict:
    failed = sum(sum(values(runs, OURS, "failed", case(many))) for many in CONNECTIONS)
    return Verdict(failed == 0, f"{failed:.0f}")


def _listed(found: dict[int, float]) -> str:
    return ", ".join(f"{each:.2f} × with {case(many)}" for many, each in found.items())


PYTHON = (
    "A request costs the hop some 65 calls in Python, and everything that waits at 64 or 512 connections waits for "
    "them: whoever passes on 0.43 × as much, for clients who all wait, makes each wait 2.3 × as long in the mean. "
    "Tried: heads read once, answers passed on in the call in which they come, a front of our own in place of "
    "aiohttp's; prototypes say what is left ([decision 12](decisions/0012-aiohttps-server-in-front.md))."
)

SELDOM = (
    "With one connection a proxy's own rest is not in it: at 7,000 requests a second only what happens 70 times a "
    "second can be in a 99th percentile, and litesup does nothing so often beside requests. Counted over 130,000, by "
    "the thread's own clock: 7 collections of young garbage, 0.12 ms at most, none of older, and 28 looks for clients "
    "who had left, 0.04 ms each; the memory that goes back every 5 s is the daemon's, and not in this measurement. "
    "Meanwhile the kernel took the core away 50 times a second, on a machine that others used: what is late with one "
    "connection is the machine's, as far as can be seen, and its rounds differ more than the sides do."
)

QUESTION = Question(
    name="hop",
    title="The hop alone",
    how=(
        "A small chat request is sent again and again (wrk) through a proxy with a core to itself, to an upstream "
        "that answers at once: nginx with three unix sockets, which shares the other core with wrk. *litesup* is the "
        "balancer as the daemon runs it, with its listeners for log and metrics, but no LiteLLM; *nginx* and *HAProxy* "
        "keep connections to the upstreams, add X-Forwarded-For and do not log. *direct* is the upstream itself in the "
        "proxy's place, on the proxy's core, so that what it costs to be woken from another core is not counted as "
        "anybody's hop."
    ),
    sides=SIDES,
    also=tuple(name for name in FRONTS if name not in SIDES),
    figures=(
        Figure("rate", "throughput", "1/s", "more"),
        Figure("median", "latency, median", "us", "less"),
        Figure("p99", "latency, 99th percentile", "ms", "less"),
        Figure("cpu", "CPU per request", "us", "less"),
        Figure("failed", "failed requests", "", "less"),
    ),
    goals=(
        Goal(f"throughput ≥ {LEAST_OF_HAPROXY} × HAProxy's", judge_throughput, unmet=PYTHON),
        Goal(f"p99 ≤ {MOST_TIMES_P99:g} × HAProxy's", judge_p99, unmet=f"{PYTHON} {SELDOM}"),
        Goal(f"added median at one connection ≤ {MOST_ADDED:g} µs", judge_added, unmet=PYTHON),
        Goal("no request fails", judge_failed),
    ),
    measure=measure,
    rounds=3,
    budget=145.0,
    needs={"": ("nginx", "wrk", "taskset"), "haproxy": ("haproxy",)},
    cores=2,
    drawn=("rate", "median", "p99", "cpu"),
)


def main() -> None:
    """With two options of its own, for a closer look."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--connections", type=int, nargs="+", default=list(CONNECTIONS))
    options, rest = parser.parse_known_args()
    chosen = partial(measure, seconds=options.seconds, connections=options.connections)
    own = sys.argv[1:] if (options.seconds, tuple(options.connections)) != (SECONDS, CONNECTIONS) else ()
    command.main(replace(QUESTION, measure=chosen), rest, asked=own)


if __name__ == "__main__":
    main()
