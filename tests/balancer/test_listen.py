"""The sockets on which the balancer listens."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from supervisor.balancer import listen as module
from supervisor.balancer.listen import PortTaken, describe, listen, refuse_exposure
from supervisor.errors import ConfigurationRefused, LitesupError


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


async def test_all_hosts_share_one_free_port():
    sockets = await listen(["127.0.0.1", "127.0.0.2"], 0)
    assert {sock.getsockname()[1] for sock in sockets} == {sockets[0].getsockname()[1]}
    assert len(sockets) == 2
    for sock in sockets:
        sock.close()


async def test_a_taken_port_says_which_and_what_to_do(taken):
    with pytest.raises(PortTaken, match=rf"port {taken} on 127\.0\.0\.1 is taken.*--port"):
        await listen(["127.0.0.2", "127.0.0.1"], taken)
    # Nothing is left listening on the host that came first.
    with socket.create_server(("127.0.0.2", taken)):
        pass


async def test_a_family_that_the_machine_lacks_is_left_out_as_long_as_another_remains(monkeypatch):
    real = module._listening

    def without_ipv6(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "no such address")
        return real(family, host, port)

    monkeypatch.setattr(module, "_listening", without_ipv6)
    (sock,) = await listen(["127.0.0.1", "::1"], 0)
    assert describe(sock) == f"127.0.0.1:{sock.getsockname()[1]}"
    sock.close()
    with pytest.raises(LitesupError, match="no such address"):
        await listen(["::1"], 0)


def test_loopback_needs_no_guard_and_everything_else_does():
    with socket.create_server(("127.0.0.1", 0)) as inside, socket.create_server(("0.0.0.0", 0)) as outside:
        refuse_exposure([inside], guarded=False)
        refuse_exposure([outside], guarded=True)
        with pytest.raises(ConfigurationRefused, match="trusted"):
            refuse_exposure([inside, outside], guarded=False)
