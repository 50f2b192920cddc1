"""How many clients may be connected at once, and who makes room. Decides; the connections act.

A connection between two requests holds nothing, and HTTP lets either side end it (RFC 9112, section 9.5). So when all
places are taken, the connection that has been without a request for longest makes room, and neither idle clients nor
those that send their heads slowly keep others out. When every place is at work, a newcomer gets one of a few more, for
one answer: the pool's health, or that it is full.
"""

from __future__ import annotations

import enum
import resource
from collections import Counter
from typing import Generic, TypeVar

STANDING = 32
"""Places beyond the limit, for health probes and refusals."""

_OTHER_DESCRIPTORS = 256  # listeners, logs, replicas' pipes and pidfds, the control socket, watched files
_LEAST = 16

Connection = TypeVar("Connection")


class Place(enum.Enum):
    SEAT = "seat"
    STANDING = "standing"  # one answer: health, or a refusal
    NONE = "none"


class Crowd(Generic[Connection]):
    """The client connections that are open: `at_work` are those with a request.

    Those without one are kept in the order in which they lost theirs.
    """

    def __init__(self, most: int, most_per_address: int = 0) -> None:
        """0 per address: as many as there are."""
        self._most = most
        self._most_per_address = most_per_address
        self._seated: dict[Connection, str] = {}
        self._standing: set[Connection] = set()
        self._idle: dict[Connection, None] = {}
        self.at_work: set[Connection] = set()
        self._per_address: Counter[str] = Counter()
        self.turned_away = 0  # connections that got no place at all, and no answer

    def rule(self, most: int, most_per_address: int = 0) -> None:
        """From now on; nobody who is here is sent away for that."""
        self._most, self._most_per_address = most, most_per_address

    def __len__(self) -> int:
        return len(self._seated) + len(self._standing)

    def all(self) -> tuple[Connection, ...]:
        return (*self._seated, *self._standing)

    @property
    def idle(self) -> int:
        return len(self._idle)

    def arrive(self, connection: Connection, address: str) -> tuple[Place, Connection | None]:
        """The place of a new connection, and the one that has to leave for it."""
        leaving = None
        full = self._most_per_address and self._per_address[address] >= self._most_per_address
        if not full and len(self._seated) >= self._most:
            leaving = next(iter(self._idle), None)
            full = leaving is None
        if full:
            if len(self._standing) >= STANDING:
                self.turned_away += 1
                return Place.NONE, None
            self._standing.add(connection)
            return Place.STANDING, None
        if leaving is not None:
            self.leave(leaving)
        self._seated[connection] = address
        self._per_address[address] += 1
        self._idle[connection] = None
        return Place.SEAT, leaving

    def begin(self, connection: Connection) -> None:
        """A request of this connection is at work."""
        self._idle.pop(connection, None)
        self.at_work.add(connection)

    def end(self, connection: Connection) -> None:
        """The connection is without a request again, or is gone."""
        self.at_work.discard(connection)
        if connection in self._seated:
            self._idle[connection] = None

    def leave(self, connection: Connection) -> None:
        self._standing.discard(connection)
        self._idle.pop(connection, None)
        address = self._seated.pop(connection, None)
        if address is not None:
            self._per_address[address] -= 1
            if not self._per_address[address]:
                del self._per_address[address]


def affordable(wanted: int) -> int:
    """As many connections as wanted, or as the process's file descriptors allow: each may need one to a replica.

    Raises the limit as far as it may.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * (wanted + STANDING) + _OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    return max(_LEAST, (soft - _OTHER_DESCRIPTORS) // 2 - STANDING)
