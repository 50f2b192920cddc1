"""WebSockets (`/v1/realtime`): a request, an answer, and from then on a tunnel.

Owns the tunnel. What is said inside is never looked at: bytes go both ways, each side waiting for the other.
"""

from __future__ import annotations

from supervisor.balancer.relay import Client, ClientGone, ClientStream, pass_on
from supervisor.balancer.upstream import Connection
from supervisor.errors import UpstreamError
from supervisor.rotation import Upstream


class _Inlet:
    """Takes what the client sends, as fast as the replica does."""

    def __init__(self, client: Client, connection: Connection) -> None:
        self._client = client
        self._connection = connection
        connection.on_writable = client.resume_reading

    def feed(self, data: bytes) -> None:
        if not self._connection.push(data):
            self._client.pause_reading()


async def tunnel(client: Client, stream: ClientStream, connection: Connection, upstream: Upstream) -> None:
    """Passes bytes both ways until one side ends its connection; the other side's is then closed too.

    Begins after the client has got the response that switches protocols. Raises ClientGone.
    """
    connection.tunnel()
    transport = client.transport
    if transport is None:
        raise ClientGone
    client.hand_over(_Inlet(client, connection).feed)
    try:
        await pass_on(connection, stream, upstream)
    except UpstreamError:
        transport.abort()
        raise
    transport.close()
