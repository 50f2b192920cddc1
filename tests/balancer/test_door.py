"""Who waits outside is let in."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.balancer.door import AT_ONCE, Door
from tests.eventually import eventually
from tests.loops import on_both_loops


class Guest(asyncio.Protocol):
    def __init__(self, inside: list[Guest]) -> None:
        self.inside = inside

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.inside.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.inside.remove(self)


class Full(socket.socket):
    """A listening socket for which there is no descriptor, as often as `refusals` says."""

    refusals = 1

    def accept(self) -> tuple[socket.socket, object]:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


@contextlib.contextmanager
def listening(directory: Path, refusals: int = 0) -> Iterator[Full]:
    with Full(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.refusals = refusals
        sock.bind(str(directory / "door"))
        sock.listen(AT_ONCE * 2)
        yield sock


def wait_outside(sock: socket.socket) -> socket.socket:
    guest = socket.socket(socket.AF_UNIX)
    guest.settimeout(5)
    guest.connect(sock.getsockname())
    return guest


@on_both_loops
async def test_all_who_wait_are_let_in_within_a_few_turns_of_the_loop(directory: Path):
    with listening(directory) as outside:
        guests = [wait_outside(outside) for _ in range(AT_ONCE)]
        inside: list[Guest] = []
        door = Door(asyncio.get_running_loop(), outside, lambda: Guest(inside))
        for _ in range(AT_ONCE // 4):
            await asyncio.sleep(0)
        assert len(inside) == AT_ONCE
        await door.close()
        for guest in guests:
            guest.close()
        await eventually(lambda: not inside, within=5)


@on_both_loops
async def test_where_no_descriptor_is_left_they_wait_until_there_is_one(directory: Path):
    with listening(directory, refusals=2) as outside:
        guest = wait_outside(outside)
        inside: list[Guest] = []
        door = Door(asyncio.get_running_loop(), outside, lambda: Guest(inside))
        await eventually(lambda: len(inside) == 1, within=5)
        assert outside.refusals == 0
        await door.close()
        guest.close()
        await eventually(lambda: not inside, within=5)


@on_both_loops
async def test_nobody_is_let_in_after_it_has_closed_and_who_is_in_stays(directory: Path):
    with listening(directory) as outside:
        inside: list[Guest] = []
        door = Door(asyncio.get_running_loop(), outside, lambda: Guest(inside))
        guest = wait_outside(outside)
        await eventually(lambda: len(inside) == 1, within=5)
        await door.close()
        await door.close()
        with pytest.raises(ConnectionRefusedError), socket.socket(socket.AF_UNIX) as late:
            late.connect(str(directory / "door"))
        await asyncio.sleep(0)
        assert len(inside) == 1
        guest.close()
        await eventually(lambda: not inside, within=5)


@on_both_loops
async def test_a_pause_ends_with_the_door(directory: Path):
    with listening(directory, refusals=10**9) as outside:
        guest = wait_outside(outside)
        inside: list[Guest] = []
        door = Door(asyncio.get_running_loop(), outside, lambda: Guest(inside))
        await eventually(lambda: door._pause is not None, within=5)
        await door.close()
        assert door._pause is None
        assert not inside
        guest.close()
