"""The operators' port: `/metrics`, `/status`, and a page that names the two.

Reads the status and the metrics, and changes nothing. It listens on loopback, and answers only to a Host that means
loopback: a name of somebody else's that resolves to 127.0.0.1 is a web page trying to read along.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable

from aiohttp import web

from supervisor.errors import LitesupError
from supervisor.observe.metrics import CONTENT_TYPE, Metrics
from supervisor.settings.schema import Admin
from supervisor.status import Status

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AdminServer:
    """Serves on `settings.host` and `settings.port` from `start` to `stop`, if enabled at all."""

    def __init__(self, settings: Admin, status: Callable[[], Status], metrics: Metrics) -> None:
        self._settings = settings
        self._status = status
        self._metrics = metrics
        self._runner: web.AppRunner | None = None
        self.listening: tuple[str, ...] = ()

    async def start(self) -> None:
        """Raises LitesupError when the port is taken."""
        if not self._settings.enabled:
            return
        app = web.Application(middlewares=[_only_loopback_hosts], client_max_size=1024)
        app.add_routes(
            [
                web.get("/", self._index),
                web.get("/metrics", self._show_metrics),
                web.get("/status", self._show_status),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=75.0)
        await runner.setup()
        host, port = self._settings.host, self._settings.port
        try:
            site = web.TCPSite(runner, host, port, reuse_address=True)
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise LitesupError(
                f"the admin port {host}:{port} cannot be used: {error.strerror or error}. "
                "Choose another with admin.port, or switch it off with admin.enabled: false."
            ) from None
        self._runner = runner
        self.listening = tuple(_spelt(address) for address in runner.addresses)

    async def stop(self) -> None:
        """Does nothing the second time."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _index(self, request: web.Request) -> web.StreamResponse:
        condition = self._status().daemon.condition.value
        return web.Response(text=f"litesup: {condition}. /metrics is for Prometheus, /status is one JSON document.\n")

    async def _show_metrics(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self._metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def _show_status(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._status().as_json(), headers={"cache-control": "no-store"})


@web.middleware
async def _only_loopback_hosts(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not means_loopback(request.headers.get("host", "")):
        return web.Response(status=421, text="this port answers to localhost and loopback addresses only\n")
    response = await handler(request)
    response.headers["x-content-type-options"] = "nosniff"
    return response


def means_loopback(host: str) -> bool:
    """Whether a Host header, port included, names this machine by itself."""
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if name.lower() in {"localhost", "localhost."}:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _spelt(address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = str(address[0]), address[1]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return str(address)
