"""A probe says how the replica is, and nothing when it cannot know."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from supervisor.fleet.probe import CannotAsk, LivenessProbe


@pytest.fixture
async def replica(short_dir: Path) -> AsyncIterator[Path]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    path = short_dir / "r1.sock"
    server = await asyncio.start_unix_server(answer, str(path))
    yield path
    server.close()
    await server.wait_closed()


@pytest.fixture
async def probe(replica: Path) -> AsyncIterator[LivenessProbe]:
    probe = LivenessProbe(replica, timeout=lambda: 5.0)
    yield probe
    await probe.close()


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            os.close(each)


async def test_a_replica_whose_socket_file_is_gone_or_is_another_one_has_missed(probe: LivenessProbe, replica: Path):
    assert await probe.ask() is None
    replica.rename(replica.with_suffix(".away"))
    assert await probe.ask() is not None
    replica.touch()
    assert await probe.ask() is not None
    replica.with_suffix(".away").rename(replica)
    assert await probe.ask() is None


async def test_when_the_daemon_itself_has_no_descriptor_left_nothing_is_said_of_the_replica(probe: LivenessProbe):
    assert await probe.ask() is None
    with no_descriptor_left(), pytest.raises(CannotAsk):
        await probe.ask()
    assert await probe.ask() is None
