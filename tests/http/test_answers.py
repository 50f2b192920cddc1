"""Every answer of the corpus from a replica over real sockets, whole and in bytes: what the client gets, and who is next."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from tests.http.bench import recording, write_pieces
from tests.http.corpus.answers import ANSWERS, CUT, Answer
from tests.http.corpus.case import Seen
from tests.http.test_requests import bytewise, whole
from tests.wire import Client, Message, read_chunk, read_head

KEY = {"Authorization": "Bearer sk-1"}
WITHIN = 30.0
OWN = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nits own"


def test_no_answer_is_twice_in_the_corpus():
    assert len({answer.name for answer in ANSWERS}) == len(ANSWERS)


@pytest.mark.parametrize(
    ("split", "new_loop"),
    [(whole, uvloop.new_event_loop), (bytewise, asyncio.new_event_loop)],
    ids=["whole", "bytewise"],
)
@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_each_answer_is_passed_on_refused_or_visibly_cut(
    answer: Answer,
    split: Callable[[bytes], list[bytes]],
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    short_dir: Path,
):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(_ends_as_it_says(answer, split(answer.sent), short_dir), WITHIN))


async def _ends_as_it_says(answer: Answer, pieces: list[bytes], directory: Path) -> None:
    async def misbehave(writer: asyncio.StreamWriter, seen: Seen) -> None:
        if b"/own" in seen.head:
            writer.write(OWN)
            return
        await write_pieces(writer, pieces)
        if not answer.stays:
            writer.close()

    async with recording(directory, misbehave) as (b, recorder):
        client = await b.connect()
        await client.send(answer.method, "/key/generate", KEY)
        head = await _final_head(client)
        if answer.status == CUT:
            assert head is None or head.status == 200
            got, complete = (b"", False) if head is None else await _body(client, head)
            assert not complete
            assert answer.body.startswith(got)
            assert [event.outcome for event in b.seen] == ["cut" if head is not None else "unavailable"]
        else:
            assert head is not None
            assert head.status == answer.status
            if answer.status == 502:
                assert head.one("server") == "litesup"
                assert not head.all("x-litesup-replica")
            else:
                assert head.one("x-litesup-replica") == "0"
            bodiless = answer.method == "HEAD" or head.status in {204, 304}
            got, complete = (b"", True) if bodiless else await _body(client, head)
            assert complete
            assert head.status == 502 or got == answer.body
            assert not (head.status == 204 and head.all("content-length"))
            assert not head.all("set-cookie")
            # What follows on the client's connection is the next answer, and nothing that was left of this one.
            assert (await client.ask("GET", "/v1/own", KEY)).body == b"its own"
        assert (await b.ask("GET", "/v1/own", KEY)).body == b"its own"
        assert recorder.accepted == (1 if answer.reused else 2)


async def _final_head(client: Client) -> Message | None:
    """None where the connection ends without one."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while (message := await read_head(client.reader)).status < 200:
            pass
        return message
    return None


async def _body(client: Client, head: Message) -> tuple[bytes, bool]:
    """What came of it, and whether it came to its end."""
    got = b""
    try:
        if head.all("transfer-encoding"):
            while piece := await read_chunk(client.reader):
                got += piece
        else:
            got = await client.reader.readexactly(int(head.one("content-length")))
    except asyncio.IncompleteReadError as incomplete:
        return got or incomplete.partial, False
    except ConnectionError:
        return got, False
    return got, True
