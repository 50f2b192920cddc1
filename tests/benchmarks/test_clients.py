from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from benchmarks.clients import ANSWERED, CUT, Books, Told, Work, one_client
from benchmarks.provider import CHUNKS, STREAM, Answering

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextlib.asynccontextmanager
async def server(protocol: Callable[[], asyncio.Protocol]) -> AsyncIterator[str]:
    listening = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


class Saying(asyncio.Protocol):
    """Answers whatever comes by these bytes, and closes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer)
        self._transport.close()


async def outcomes(url: str, *, stream: bool, requests: int = 3) -> dict[str, int]:
    books = Books(Work(url, {}, stream=stream, requests=requests), now=0.0)
    async with asyncio.timeout(20):
        await one_client(books)
    return dict(books.outcomes)


@pytest.mark.parametrize("stream", [False, True])
async def test_every_answer_of_the_provider_counts(stream: bool) -> None:
    async with server(Answering) as url:
        assert await outcomes(url, stream=stream) == {ANSWERED: 3}


async def test_the_provider_streams_as_many_chunks_as_it_says() -> None:
    assert b"".join(STREAM).count(b"data: {") == CHUNKS
    assert b"".join(STREAM).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"6\r\ndata: \r\n",
        HEAD + b"6\r\ndata: \r\n0\r\n\r\n",
        HEAD,
    ],
    ids=["no last chunk", "no last event", "nothing but a head"],
)
async def test_a_stream_without_its_last_event_is_cut(answer: bytes) -> None:
    async with server(lambda: Saying(answer)) as url:
        assert await outcomes(url, stream=True, requests=2) == {CUT: 2}


async def test_a_refusal_is_known_by_its_status() -> None:
    async with server(lambda: Saying(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")) as url:
        assert await outcomes(url, stream=True, requests=2) == {"503": 2}


async def test_a_plain_answer_that_breaks_off_is_a_connection_that_was_lost() -> None:
    async with server(lambda: Saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")) as url:
        assert await outcomes(url, stream=False, requests=2) == {"connection lost": 2}


async def test_nobody_listening_is_told_and_does_not_end_the_client() -> None:
    async with server(Answering) as url:
        pass
    assert await outcomes(url, stream=False, requests=2) == {"refused": 2}


def test_what_ends_in_the_warm_up_or_after_the_time_does_not_count() -> None:
    books = Books(Work("http://h", {}, seconds=10.0, warm_up=5.0), now=100.0)
    for begun, ended in ((100.0, 104.9), (104.0, 105.0), (114.0, 114.9), (114.0, 115.0)):
        books.ended(ANSWERED, begun, ended)
    told = books.told(now=116.0)
    assert told.latencies == pytest.approx([0.9, 1.0])
    assert told.seconds == 10.0
    assert told.rate == 0.2


def test_no_request_is_begun_once_the_time_is_over_or_it_was_told_to_stop() -> None:
    books = Books(Work("http://h", {}, seconds=1.0), now=0.0)
    assert books.another(0.9)
    assert not books.another(1.0)
    books.stopping = True
    assert not books.another(0.9)


def test_as_many_requests_are_begun_as_were_ordered() -> None:
    books = Books(Work("http://h", {}, requests=2), now=0.0)
    assert [books.another(0.0) for _ in range(3)] == [True, True, False]


def test_failures_are_neither_answers_nor_cut_streams() -> None:
    told = Told(seconds=1.0, outcomes={ANSWERED: 5, CUT: 2, "503": 1, "refused": 3})
    assert (told.answered, told.cut, told.failed) == (5, 2, 4)


def test_the_99th_percentile_is_an_answer_that_was_measured() -> None:
    told = Told(1.0, {ANSWERED: 200}, [float(number) for number in range(200)])
    assert (told.quantile(0.5), told.quantile(0.99), told.quantile(1.0)) == (100.0, 198.0, 199.0)


def test_without_an_answer_there_is_no_percentile() -> None:
    with pytest.raises(ValueError, match="no request was answered"):
        Told(1.0, {"503": 2}).quantile(0.5)
