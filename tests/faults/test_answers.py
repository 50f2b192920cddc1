"""Replicas that answer as no server should."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.pool import PATIENCE, STREAM, FaultPool
from tests.wire import CHAT, Message

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def rest_of(pool: FaultPool, wire: str) -> tuple[Message, bytes]:
    """An answer's head, and all of its body that comes before it is cut off; one that seems to be whole fails."""
    client = await pool.begin({"x-fake-wire": wire}, STREAM)
    head = await client.head()
    try:
        async with asyncio.timeout(PATIENCE):
            received = await client.reader.read()
    except ConnectionError:
        received = b""
    assert not received.endswith(b"0\r\n\r\n"), "it looks complete"
    return head, received


async def test_half_a_head_and_then_silence_is_a_504(pool: FaultPool):
    answer = await pool.ask({"x-fake-wire": "half-head"})
    assert (answer.status, answer.json()["error"]["code"]) == (504, "replica_timeout")


async def test_half_a_head_and_then_the_end_twice_is_a_502(pool: FaultPool):
    since = len(pool.events)
    answer = await pool.ask({"x-fake-wire": "half-head-end"})
    assert (answer.status, answer.all("x-should-retry")) == (502, ["false"])
    assert [event["reason"] for event in pool.find("request_retried", since=since)] == ["lost"]


async def test_what_creates_something_is_not_to_be_repeated_after_half_a_head(pool: FaultPool):
    answer = await pool.ask({"x-fake-wire": "half-head-end", "Authorization": "Bearer sk-1"}, b"a file", "/v1/files")
    assert (answer.status, answer.all("x-should-retry")) == (502, ["false"])


async def test_a_connection_closed_without_an_answer_twice_is_a_502(pool: FaultPool):
    since = len(pool.events)
    answer = await pool.ask({"x-fake-die": "close"})
    assert (answer.status, answer.all("x-should-retry")) == (502, ["false"])
    await pool.told("request_suspected", since=since)
    await pool.told("request_retried", since=since)


async def test_a_body_that_stops_coming_ends_visibly(pool: FaultPool):
    head, received = await rest_of(pool, "no-end")
    assert (head.one("content-length"), received) == ("10", b"01234")


async def test_a_stream_that_is_reset_ends_with_an_error_event(pool: FaultPool):
    _, received = await rest_of(pool, "reset")
    assert received.count(b"data: ") == 2
    assert b'"error"' in received


async def test_half_a_body_and_then_a_kill_ends_visibly(pool: FaultPool):
    client = await pool.begin({"x-fake-die": "middle"})
    head = await client.head()
    assert len(await client.reader.read()) < int(head.one("content-length"))


async def test_garbage_reaches_no_client(pool: FaultPool):
    answer = await pool.ask({"x-fake-wire": "garbage"})
    assert (answer.status, answer.all("x-should-retry")) == (502, ["true"])
    assert b"this is no answer" not in answer.body


async def test_a_head_without_end_is_a_502_and_no_memory(pool: FaultPool):
    before = pool.process.memory_info().rss
    answer = await pool.ask({"x-fake-wire": "flood"})
    assert answer.status == 502
    assert pool.process.memory_info().rss - before < 16 << 20


async def test_an_answer_of_a_byte_now_and_then_arrives_whole_and_holds_up_nobody(pool: FaultPool):
    slow = asyncio.create_task(pool.ask({"x-fake-wire": "trickle"}))
    load = await pool.load(requests=50).run()
    assert not load.failed, load.summary()
    assert (await slow).body == b"0123456789"


async def test_a_second_answer_to_one_request_reaches_nobody(pool: FaultPool):
    client = await pool.connect()
    for _ in range(6):  # each replica more than once, so that its connection would be used again
        answer = await client.ask("POST", CHAT, {"x-fake-wire": "twice"}, b"{}")
        assert (answer.start, answer.body) == ("HTTP/1.1 200 OK", b"the first!")
        answer = await client.ask("POST", CHAT, {}, b"{}")
        assert b"hello from the fake" in answer.body


async def test_an_error_of_litellms_own_is_passed_on_and_counts_against_no_replica(pool: FaultPool):
    since = len(pool.events)
    for status in (500, 503, 429):
        answer = await pool.ask({"x-fake-status": str(status)})
        assert (answer.status, "echo" in answer.json()) == (status, True)
    assert not pool.find("request_retried", since=since)
    assert not pool.find("replica_suspect", since=since)
