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
from tests.eventually import eventually


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
def probe(replica: Path) -> LivenessProbe:
    return LivenessProbe(replica, timeout=lambda: 5.0)


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


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@contextlib.asynccontextmanager
async def answering(path: Path, *pieces: bytes, end: bool = True) -> AsyncIterator[list[bytes]]:
    """A replica that sends this, piece by piece, whatever it is asked; what it was asked is handed out."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if not end:
            await reader.read()
        writer.close()

    async with await asyncio.start_unix_server(answer, str(path)):
        yield asked


@pytest.mark.parametrize(
    ("pieces", "verdict"),
    [
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"], None),
        ([b"HTTP/1.1 20", b"0 OK\r\ncontent-le", b"ngth: 2\r\n\r\n{", b"}"], None),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"], None),
        ([b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"], "answered 503"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{"], "closed the connection without an answer"),
        ([b"HTTP/1.1 200 OK\r\n"], "closed the connection without an answer"),
        ([], "closed the connection without an answer"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "answered what is no HTTP"),
    ],
)
async def test_only_a_complete_answer_with_200_is_one(short_dir: Path, pieces: list[bytes], verdict: str | None):
    path = short_dir / "r1.sock"
    async with answering(path, *pieces) as asked:
        assert await LivenessProbe(path, timeout=lambda: 5.0).ask() == verdict
    assert asked[0].startswith(b"GET /health/liveliness HTTP/1.1\r\n")


async def test_an_answer_that_does_not_come_is_waited_for_as_long_as_the_settings_say(short_dir: Path):
    path = short_dir / "r1.sock"
    async with answering(path, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{", end=False):
        assert await LivenessProbe(path, timeout=lambda: 0.05).ask() == "no answer within 0.05 s"


async def test_each_probe_has_a_connection_of_its_own_and_leaves_none(short_dir: Path):
    path = short_dir / "r1.sock"
    probe = LivenessProbe(path, timeout=lambda: 5.0)
    open_before = open_descriptors()
    async with answering(path, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", end=False) as asked:
        for _ in range(20):
            assert await probe.ask() is None
        assert len(asked) == 20
    await eventually(lambda: open_descriptors() <= open_before, what="no connection left")
