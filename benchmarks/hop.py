"""What the hop through the balancer costs: litesup, nginx and HAProxy, one core each, before the same fast upstream.

    python -m benchmarks.hop --rounds 3 --seconds 4

The upstream is nginx answering by itself on three unix sockets; it and the load (wrk, POST of a small chat request)
have one core, the proxy that is measured has the other. Sides take turns, and the order changes from round to round;
`direct` is the load on the upstream without any proxy, on its one core. CPU per request is the proxy's own, user and
system: it is what holds still when others use the machine. Other sides are prototypes (`benchmarks/prototypes`), which
say what could be. Needs nginx, haproxy and wrk on PATH (Debian's
packages nginx-light, haproxy and wrk). Nothing but the loopback interface is used.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmarks.machine import machine
from tests.daemon import free_port

SIDES = ("direct", "nginx", "haproxy", "litesup")
FRONTS = {
    "litesup": ("benchmarks.hop_front",),
    "relay": ("benchmarks.prototypes.relay",),
    "by-hand": ("benchmarks.prototypes.by_hand",),
    "aiohttp-only": ("benchmarks.prototypes.aiohttp_only",),
    "own-front": ("benchmarks.prototypes.own_front",),
    "own-tasks": ("benchmarks.prototypes.own_front", "--tasks"),
}
"""What is started as `python -m … PORT SOCKET...`: the product, and prototypes that say what could be."""
NEEDED = ("nginx", "haproxy", "wrk", "taskset")
PACKAGES = "nginx-light haproxy wrk"
UPSTREAMS = 3
PROXY_CORE, LOAD_CORE = 0, 1
UP_WITHIN = 20.0  # seconds

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
QUESTION = {"model": "gpt-4", "messages": [{"role": "user", "content": "ping"}]}

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


@dataclass(frozen=True, slots=True)
class Result:
    """One run. `rate` is requests per second; `median`, `p99` and `cpu` per request are seconds.

    `failed` counts errors of any kind.
    """

    side: str
    connections: int
    rate: float
    median: float
    p99: float
    failed: int
    cpu: float = 0.0


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
        self.direct_port = free_port()
        (folder / "wrk.lua").write_text(WRK.format(body=json.dumps(QUESTION)))

    @contextlib.contextmanager
    def upstream(self) -> Iterator[None]:
        listen = "".join(f"listen unix:{path};" for path in self.sockets) + f"listen 127.0.0.1:{self.direct_port};"
        command = self._nginx("upstream", NGINX_UPSTREAM, listen=listen, answer=ANSWER)
        with running(command, LOAD_CORE) as process:
            wait_for(self.direct_port, process)
            yield

    @contextlib.contextmanager
    def proxy(self, side: str) -> Iterator[tuple[int, psutil.Process | None]]:
        """The port to send the load to, and the process that is measured."""
        if side == "direct":
            yield self.direct_port, None
            return
        port = free_port()
        with running(self._command(side, port), PROXY_CORE, PYTHONPATH=os.pathsep.join(sys.path)) as process:
            wait_for(port, process)
            yield port, psutil.Process(process.pid)

    def load(self, port: int, connections: int, seconds: float) -> tuple[float, float, float, int]:
        """Requests per second, median and 99th percentile in seconds, and failures, of wrk on its core."""
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "--timeout", "10s"]
        command += ["-s", str(self.folder / "wrk.lua"), f"http://127.0.0.1:{port}/v1/chat/completions"]
        done = subprocess.run(_on_core(LOAD_CORE, command), check=True, capture_output=True, text=True)
        return _parsed(done.stdout)

    def _command(self, side: str, port: int) -> list[str]:
        match side:
            case "nginx":
                servers = " ".join(f"server unix:{path};" for path in self.sockets)
                return self._nginx("proxy", NGINX_PROXY, servers=servers, port=str(port))
            case "haproxy":
                servers = "\n    ".join(f"server r{n} unix@{path}" for n, path in enumerate(self.sockets))
                file = self.folder / "haproxy.cfg"
                file.write_text(HAPROXY.format(port=port, servers=servers))
                return ["haproxy", "-db", "-q", "-f", str(file)]
            case _:
                return [sys.executable, "-m", *FRONTS[side], str(port), *map(str, self.sockets)]

    def _nginx(self, name: str, template: str, **values: str) -> list[str]:
        file = self.folder / f"{name}.conf"
        file.write_text(template.format(folder=self.folder, name=name, **values))
        for path in self.sockets if name == "upstream" else ():
            path.unlink(missing_ok=True)
        return ["nginx", "-e", "stderr", "-p", str(self.folder), "-c", str(file)]


def _parsed(text: str) -> tuple[float, float, float, int]:
    units = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}

    def quantile(name: str) -> float:
        found = re.search(rf"^ +{name}% +([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)
        assert found is not None, text
        return float(found[1]) * units[found[2]]

    rate = re.search(r"^Requests/sec: +([\d.]+)$", text, re.MULTILINE)
    assert rate is not None, text
    failed = sum(int(each) for each in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    failed += sum(int(each) for each in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    return float(rate[1]), quantile("50"), quantile("99"), failed


def measure(rounds: int, seconds: float, connections: Sequence[int], sides: Sequence[str]) -> list[Result]:
    results = []
    with tempfile.TemporaryDirectory(prefix="ls-hop-") as folder:
        stage = Stage(Path(folder))
        with stage.upstream():
            for number in range(rounds):
                for side in sides if number % 2 == 0 else sides[::-1]:
                    with stage.proxy(side) as (port, process):
                        stage.load(port, 16, 1.0)  # nobody is measured cold
                        for many in connections:
                            before = _cpu(process)
                            rate, median, p99, failed = stage.load(port, many, seconds)
                            cpu = (_cpu(process) - before) / max(1.0, rate * seconds)
                            results.append(Result(side, many, rate, median, p99, failed, cpu))
                            print(f"round {number + 1}: {results[-1]}", file=sys.stderr, flush=True)
    return results


def _cpu(process: psutil.Process | None) -> float:
    """Seconds that it has used so far, in its own code and in the kernel."""
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


def medians(results: Sequence[Result], connections: int) -> Mapping[str, Result]:
    """By side."""
    table = {}
    for side in {result.side for result in results}:
        runs = [each for each in results if (each.side, each.connections) == (side, connections)]
        rate, median, p99, cpu = (
            statistics.median(getattr(each, name) for each in runs) for name in ("rate", "median", "p99", "cpu")
        )
        table[side] = Result(side, connections, rate, median, p99, sum(each.failed for each in runs), cpu)
    return table


def table(results: Sequence[Result]) -> str:
    head = ("requests/s", "median ms", "p99 ms", "failed", "x haproxy", "CPU us")
    lines = [f"{'connections':>11}  {'side':<12}" + "".join(f"{name:>11}" for name in head)]
    for many in sorted({result.connections for result in results}):
        sides = medians(results, many)
        for side in (each for each in dict.fromkeys((*SIDES, *FRONTS)) if each in sides):
            one = sides[side]
            share = f"{one.rate / sides['haproxy'].rate:.2f}" if "haproxy" in sides else "-"
            lines.append(
                f"{many:>11}  {side:<12}{one.rate:>11.0f}{one.median * 1e3:>11.3f}{one.p99 * 1e3:>11.2f}"
                f"{one.failed:>11}{share:>11}{one.cpu * 1e6:>11.1f}"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = list(dict.fromkeys((*SIDES, *FRONTS)))
    parser.add_argument("--rounds", type=int, choices=range(1, 21), default=3, metavar="N", help="1 to 20 (default: 3)")
    parser.add_argument("--seconds", type=float, default=4.0, metavar="S", help="of load in each run (default: 4)")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 64, 512], metavar="C")
    parser.add_argument("--sides", nargs="+", choices=every, default=list(SIDES), metavar="SIDE", help=" ".join(every))
    parser.add_argument("--json", action="store_true", help="every run as JSON, instead of the table")
    options = parser.parse_args()
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        sys.exit(f"{', '.join(missing)} not found; on Debian: apt install {PACKAGES}")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("this measurement needs two cores: one for the proxy, one for the load")
    results = measure(options.rounds, options.seconds, options.connections, options.sides)
    if options.json:
        print(json.dumps({"machine": machine(), "runs": [asdict(each) for each in results]}, indent=2))
        return
    for name, value in machine().items():
        print(f"{name:<12} {value}")
    print()
    print(table(results))


if __name__ == "__main__":
    main()
