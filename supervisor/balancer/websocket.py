"""WebSockets (`/v1/realtime`): a request, an answer, and from then on a tunnel.

Owns the tunnel. What is said inside is never looked at: bytes go both ways, each side waiting for the other.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from aiohttp import web

from supervisor.balancer.relay import ClientGone, ClientStream, pass_on
from supervisor.balancer.upstream import Connection
from supervisor.errors import UpstreamError
from supervisor.rotation import Upstream


class _Inlet:
    """Takes what the client sends, in the place where aiohttp would read WebSocket frames."""

    def __init__(self, client: asyncio.Transport, connection: Connection) -> None:
        self._client = client
        self._connection = connection
        connection.on_writable = self._go_on

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        if not self._connection.push(data):
            self._client.pause_reading()
        return False, b""

    def feed_eof(self) -> None:
        self._connection.abort()

    def _go_on(self) -> None:
        if not self._client.is_closing():
            self._client.resume_reading()


async def tunnel(request: web.BaseRequest, client: ClientStream, connection: Connection, upstream: Upstream) -> None:
    """Passes bytes both ways until one side ends its connection; the other side's is then closed too.

    Begins after the client has got the response that switches protocols. Raises ClientGone.
    """
    connection.tunnel()
    transport = request.transport
    if transport is None:
        raise ClientGone
    # aiohttp asks for no more of a parser than these two methods.
    request.protocol.set_parser(cast("Any", _Inlet(transport, connection)))
    try:
        await pass_on(connection, client, upstream)
    except UpstreamError:
        transport.abort()
        raise
    transport.close()
