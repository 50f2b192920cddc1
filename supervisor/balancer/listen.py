"""The sockets on which the balancer listens."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Sequence

from supervisor.errors import ConfigurationRefused, Finding, LitesupError, Severity

BACKLOG = 1024
_SAME_PORT_TRIES = 20
_NO_SUCH_FAMILY = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class PortTaken(LitesupError):
    """Something else listens on the port, or it may not be used."""


async def listen(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Listening sockets on every host, all on the same port; 0 takes one that is free on all of them.

    A host of an address family that this machine does not have is left out, as long as another remains. Raises
    PortTaken or LitesupError, and then no socket is left open.
    """
    addresses = await _resolve(hosts, port)
    for attempt in range(_SAME_PORT_TRIES):
        try:
            return _listen_on(addresses, port)
        except PortTaken:
            if port or attempt == _SAME_PORT_TRIES - 1:
                raise
    raise AssertionError


def describe(sock: socket.socket) -> str:
    """The address that a socket listens on, as a person would write it."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{host}:{port}"


def refuse_exposure(sockets: Sequence[socket.socket], *, guarded: bool) -> None:
    """Raises ConfigurationRefused for a socket beyond loopback, unless somebody has said who may come."""
    if guarded:
        return
    exposed = [describe(sock) for sock in sockets if _is_exposed(sock)]
    if exposed:
        raise ConfigurationRefused([
            Finding(
                Severity.ERROR,
                "listening-unguarded",
                f"the balancer would listen beyond this machine ({', '.join(exposed)}) with nobody said to be allowed",
                hint="add to litesup.yaml, with your own networks:\n"
                "      access:\n"
                "        allow: [10.0.0.0/8]     # who may connect at all\n"
                "        trusted: [127.0.0.0/8]  # who may come without a key",
                path="access.allow",
            )
        ])  # fmt: skip


def _listen_on(addresses: Sequence[tuple[socket.AddressFamily, str]], port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, host in addresses:
            chosen = port or (sockets[0].getsockname()[1] if sockets else 0)
            try:
                sockets.append(_listening(family, host, chosen))
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise _explained(error, host, chosen) from None
                missing = error
        if not sockets:
            assert missing is not None
            raise _explained(missing, addresses[-1][1], port)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listening(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        # With SO_REUSEADDR a second bind may succeed; it is here that a taken port shows.
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _explained(error: OSError, host: str, port: int) -> LitesupError:
    where = f"port {port} on {host}"
    match error.errno:
        case errno.EADDRINUSE:
            return PortTaken(
                f"{where} is taken: stop what listens there (`ss -ltnp 'sport = :{port}'` shows it), "
                "or choose another with --port"
            )
        case errno.EACCES:
            return PortTaken(f"{where} may not be used by this user: choose one above 1023 with --port")
        case errno.EADDRNOTAVAIL:
            return LitesupError(f"cannot listen on {host}: this machine has no such address (balancer.host)")
        case _:
            return LitesupError(f"cannot listen on {where}: {error.strerror}")


async def _resolve(hosts: Sequence[str], port: int) -> list[tuple[socket.AddressFamily, str]]:
    loop = asyncio.get_running_loop()
    addresses: list[tuple[socket.AddressFamily, str]] = []
    for host in hosts:
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except socket.gaierror as error:
            raise LitesupError(f"cannot listen on {host}: {error.strerror} (balancer.host)") from None
        for family, _, _, _, address in found:
            if (family, str(address[0])) not in addresses:
                addresses.append((family, str(address[0])))
    return addresses


def _is_exposed(sock: socket.socket) -> bool:
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    return not ipaddress.ip_address(sock.getsockname()[0].partition("%")[0]).is_loopback
