"""Three plain LiteLLMs on ports of their own, behind HAProxy or nginx configured as an operator would.

A balancer restarts nobody, and LiteLLM has nothing of the kind, so a loop here does what systemd's `Restart=always`
would, without its pause (`RestartSec`, 0.1 s). A new file is taken up by restarting one after the other: SIGTERM, and
the next when this one's own port is ready again. Idle connections of the balancer to a LiteLLM are kept for less long
than LiteLLM keeps them.
"""

from __future__ import annotations

import asyncio
import signal
from abc import abstractmethod
from collections.abc import Awaitable, Callable

import psutil

from benchmarks.machine import find
from benchmarks.peers.pool import WORKERS, Place, Pool, ready
from benchmarks.peers.program import Program
from tests.daemon import free_port

HAPROXY = """\
global
    maxconn 4096
defaults
    mode http
    option forwardfor
    option redispatch
    option http-keep-alive
    option http-no-delay
    retries 3
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-request 10s
    timeout http-keep-alive 60s
frontend front
    bind 127.0.0.1:{port}
    default_backend litellm
backend litellm
    balance leastconn
    option httpchk GET /health/liveliness
    http-check expect status 200
    default-server check inter 2s fall 3 rise 2 pool-purge-delay 30s
{servers}
"""

NGINX = """\
daemon off;
worker_processes auto;
error_log stderr error;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-f; uwsgi_temp_path {folder}/nginx-u; scgi_temp_path {folder}/nginx-s;
    keepalive_requests 100000;
    upstream litellm {{
        least_conn;
{servers}
        keepalive 64;
        keepalive_requests 100000;
        keepalive_timeout 30s;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://litellm;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_buffering off;
            proxy_connect_timeout 5s;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""


class Plain:
    """One LiteLLM on a port of its own, started again whenever it ends."""

    def __init__(self, number: int, place: Place) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = place.litellm("--host", "127.0.0.1", "--port", str(self.port), "--keepalive_timeout", "120")
        self.program = Program(f"plain-{number}", command, place.folder, place.environment)
        self._kept: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.program.start()
        self._kept = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        if self._kept is not None:
            self._kept.cancel()
            await asyncio.wait([self._kept])
        await self.program.stop()

    async def back(self, since: int) -> None:
        """Returns when another process than that one serves."""
        while self.program.pid == since:
            await asyncio.sleep(0.005)
        await ready(self.url)

    async def _keep(self) -> None:
        while True:
            await self.program.ended()
            await self.program.start()


class _Fronted(Pool):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.plain = [Plain(number, place) for number in range(1, WORKERS + 1)]
        self.front = Program(self.side, self._command(), place.folder, place.environment)

    @abstractmethod
    def _command(self) -> list[str]:
        """Writes the balancer's configuration; what starts it."""

    async def stop(self) -> None:
        await self.front.stop()
        await asyncio.gather(*(each.stop() for each in self.plain))

    def processes(self) -> list[psutil.Process]:
        programs = [self.front, *(each.program for each in self.plain)]
        return [process for program in programs for process in program.processes()]

    def workers(self) -> list[int]:
        return [each.program.pid for each in self.plain]

    async def _start(self) -> None:
        for each in self.plain:
            await each.start()
        await self.front.start()
        await asyncio.gather(*(ready(each.url) for each in self.plain))

    def _return_of(self, victim: int) -> Callable[[], Awaitable[None]]:
        killed = next(each for each in self.plain if each.program.pid == victim)
        return lambda: killed.back(victim)

    async def _reload(self) -> None:
        for each in self.plain:
            before = each.program.pid
            each.program.signal(signal.SIGTERM)
            await each.back(before)


class HAProxy(_Fronted):
    side = "haproxy"

    def _command(self) -> list[str]:
        servers = "\n".join(f"    server litellm{n} 127.0.0.1:{each.port}" for n, each in enumerate(self.plain, 1))
        file = self.place.folder / "haproxy.cfg"
        file.write_text(HAPROXY.format(port=self.place.port, servers=servers))
        return [find("haproxy") or "haproxy", "-db", "-q", "-f", str(file)]


class Nginx(_Fronted):
    side = "nginx"

    def _command(self) -> list[str]:
        servers = "\n".join(
            f"        server 127.0.0.1:{each.port} max_fails=3 fail_timeout=10s;" for each in self.plain
        )
        folder = self.place.folder
        file = folder / "nginx.conf"
        file.write_text(NGINX.format(port=self.place.port, servers=servers, folder=folder))
        return [find("nginx") or "nginx", "-e", "stderr", "-p", str(folder), "-c", str(file)]
