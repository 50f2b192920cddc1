"""What becomes of a request whose replica dies, hangs or is full, against replicas that follow a script."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import pytest

from supervisor.events import RequestRetried, RequestSuspected
from tests.eventually import eventually
from tests.wire import CHAT, KEY, Bench, Call, Client, ScriptedReplica, bench, die, read_chunk, say_hello

BODY = b'{"model": "gpt-4", "messages": []}'


async def hang(call: Call) -> None:
    await call.read_body()
    await asyncio.Event().wait()


def retries(made: Bench) -> list[tuple[int, str]]:
    return [(event.slot, event.reason) for event in made.told if isinstance(event, RequestRetried)]


async def held_by(made: Bench, slot: int, method: str = "POST", target: str = CHAT, body: bytes = BODY) -> Client:
    """A client whose request that replica has, and has not answered."""
    client = await made.connect()
    replica = made.replicas[slot]
    before = len(replica.requests)
    await client.send(method, target, KEY, body)
    await eventually(lambda: len(replica.requests) > before and bool(replica.upstream.unanswered))
    return client


async def until_cut(client: Client) -> bytes:
    """The rest of a chunked body that must not end as it should."""
    received = b""
    try:
        while piece := await read_chunk(client.reader):
            received += piece
    except (asyncio.IncompleteReadError, ConnectionError):
        return received
    raise AssertionError(f"it looks complete: {received!r}")


async def test_a_request_that_hangs_is_answered_by_another_replica_and_the_late_answer_is_discarded(
    short_dir: Path,
) -> None:
    wake = asyncio.Event()

    async def late(call: Call) -> None:
        await call.read_body()
        await wake.wait()
        await call.reply(b'{"too": "late"}')

    async with bench(ScriptedReplica(short_dir, 0, late), ScriptedReplica(short_dir, 1)) as b:
        client = await held_by(b, 0)
        b.rotation.set_suspect(1, suspect=True)
        b.rotation.give_up(1)
        answer = await client.answer()
        assert (answer.json(), answer.one("x-litesup-replica")) == ({"hello": "world"}, "1")
        assert retries(b) == [(0, "given up")]
        wake.set()
        # The connection that the answer would have come over has ended, so it can reach no other request.
        await eventually(lambda: b.replicas[0].open == 0)
        assert (await client.ask("POST", CHAT, body=BODY)).json() == {"hello": "world"}
        assert b.rotation.in_flight == 0


async def test_what_may_not_be_sent_twice_waits_for_the_replica_that_hangs(short_dir: Path) -> None:
    wake = asyncio.Event()

    async def late(call: Call) -> None:
        body = await call.read_body()
        await wake.wait()
        await call.reply(body)

    async with bench(ScriptedReplica(short_dir, 0, late), ScriptedReplica(short_dir, 1)) as b:
        creates = b'{"background": true}'
        client = await held_by(b, 0, target="/v1/files", body=b"a file")
        b.rotation.set_suspect(2, suspect=True)
        other = await held_by(b, 0, target="/v1/responses", body=creates)
        b.rotation.set_suspect(2, suspect=False)
        b.rotation.set_suspect(1, suspect=True)
        b.rotation.give_up(1)
        wake.set()
        assert (await client.answer()).body == b"a file"
        assert (await other.answer()).body == creates
        assert not b.replicas[1].requests
        assert not retries(b)


async def test_an_answer_that_has_begun_is_left_to_the_replica_that_gave_it(short_dir: Path) -> None:
    wake = asyncio.Event()

    async def slow(call: Call) -> None:
        await call.read_body()
        await call.begin_stream()
        await call.chunk(b"data: one\n\n")
        await wake.wait()
        await call.chunk(b"data: two\n\n")
        await call.send(b"0\r\n\r\n")

    async with bench(ScriptedReplica(short_dir, 0, slow), ScriptedReplica(short_dir, 1)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, body=BODY)
        await client.head()
        assert await read_chunk(client.reader) == b"data: one\n\n"
        b.rotation.set_suspect(1, suspect=True)
        b.rotation.give_up(1)
        wake.set()
        assert await read_chunk(client.reader) == b"data: two\n\n"
        assert await read_chunk(client.reader) == b""
        assert not retries(b)


async def test_half_a_head_is_the_beginning_of_an_answer(short_dir: Path) -> None:
    wake = asyncio.Event()

    async def slow(call: Call) -> None:
        await call.read_body()
        await call.send(b"HTTP/1.1 200 OK\r\ncontent-le")
        await wake.wait()
        await call.send(b"ngth: 4\r\n\r\nslow")

    async with bench(ScriptedReplica(short_dir, 0, slow), ScriptedReplica(short_dir, 1)) as b:
        client = await held_by(b, 0)
        b.rotation.set_suspect(1, suspect=True)
        (dispatch,) = b.replicas[0].upstream.unanswered
        connection = cast("Any", dispatch)._waits_on
        await eventually(lambda: connection._received, what="the half is read")
        b.rotation.give_up(1)
        wake.set()
        assert (await client.answer()).body == b"slow"
        assert not retries(b)


async def test_nobody_is_given_up_while_nobody_else_is_better(short_dir: Path) -> None:
    async with bench(ScriptedReplica(short_dir, 0, hang), ScriptedReplica(short_dir, 1)) as b:
        client = await held_by(b, 0)
        for replica in (1, 2):
            b.rotation.set_suspect(replica, suspect=True)
        b.rotation.give_up(1)
        await asyncio.sleep(0)
        assert b.replicas[0].upstream.unanswered
        b.rotation.set_suspect(2, suspect=False)
        b.rotation.give_up(1)
        assert (await client.answer()).status == 200


async def test_a_request_that_hangs_two_replicas_waits_for_the_second_and_is_a_suspect_when_that_dies(
    short_dir: Path,
) -> None:
    async with bench(*(ScriptedReplica(short_dir, slot, hang) for slot in range(3))) as b:
        client = await held_by(b, 0)
        b.rotation.set_suspect(1, suspect=True)
        b.rotation.give_up(1)
        await eventually(lambda: bool(b.replicas[1].upstream.unanswered))
        b.rotation.set_suspect(2, suspect=True)
        b.rotation.give_up(2)
        assert b.replicas[1].upstream.unanswered
        await b.replicas[1].stop()
        answer = await client.answer()
        assert (answer.status, answer.one("x-should-retry")) == (502, "false")
        assert not b.replicas[2].requests


async def test_a_request_in_flight_at_two_deaths_is_named_as_the_suspect(short_dir: Path) -> None:
    async with bench(*(ScriptedReplica(short_dir, slot, die) for slot in range(3))) as b:
        answer = await b.ask("POST", f"{CHAT}?secret=1", {"X-Request-ID": "the-poison"}, BODY)
        assert (answer.status, answer.one("x-should-retry")) == (502, "false")
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        (suspected,) = [event for event in b.told if isinstance(event, RequestSuspected)]
        assert suspected == RequestSuspected((1, 2), "POST", CHAT, "gpt-4", "the-poison")
        assert not b.replicas[2].requests


async def test_a_death_costs_inference_nothing_and_what_creates_an_error_that_says_so(short_dir: Path) -> None:
    async with bench(ScriptedReplica(short_dir, 0, die), ScriptedReplica(short_dir, 1)) as b:
        assert (await b.ask("POST", CHAT, body=BODY)).status == 200
        b.rotation.set_suspect(2, suspect=True)
        answer = await b.ask("POST", "/v1/files", KEY, b"a file")
        assert (answer.status, answer.one("x-should-retry")) == (502, "false")
        assert retries(b) == [(0, "lost")]


async def test_a_client_that_will_not_wait_that_long_is_told_so_before_it_leaves(short_dir: Path) -> None:
    async with bench() as b:
        for name, value in (("X-Stainless-Timeout", "0.3"), ("X-Stainless-Read-Timeout", "0.3")):
            answer = await asyncio.wait_for(b.ask("POST", CHAT, {name: value}, BODY), 30)
            assert (answer.status, answer.one("x-should-retry")) == (503, "true")
            assert b.seen[-1].seconds < 20


async def test_nothing_is_sent_again_after_the_clients_own_deadline(short_dir: Path) -> None:
    late = asyncio.Event()

    async def die_late(call: Call) -> None:
        await call.read_body()
        await late.wait()
        call.hang_up()

    async with bench(ScriptedReplica(short_dir, 0, die_late), ScriptedReplica(short_dir, 1)) as b:
        client = await b.connect()
        begun = asyncio.get_running_loop().time()
        await client.send("POST", CHAT, {"X-Stainless-Timeout": "0.2"}, BODY)
        await eventually(lambda: bool(b.replicas[0].upstream.unanswered))
        await eventually(lambda: asyncio.get_running_loop().time() > begun + 0.3)
        b.rotation.set_suspect(1, suspect=True)
        b.rotation.give_up(1)
        assert b.replicas[0].upstream.unanswered
        late.set()
        answer = await client.answer()
        assert (answer.status, answer.one("x-should-retry")) == (502, "true")
        assert not b.replicas[1].requests


async def test_bodies_are_held_up_to_a_bound_in_all_and_beyond_it_sent_once(short_dir: Path) -> None:
    go = asyncio.Event()

    async def wait_then_die(call: Call) -> None:
        await call.read_body()
        await go.wait()
        call.hang_up()

    replicas = [ScriptedReplica(short_dir, slot, wait_then_die) for slot in range(3)] + [ScriptedReplica(short_dir, 3)]
    async with bench(*replicas, retry={"held_bytes": 1000}) as b:
        clients = [await held_by(b, slot, body=b"x" * 400) for slot in range(3)]
        go.set()
        for replica in replicas[:3]:
            replica.script = say_hello
        statuses = [(await client.answer()).status for client in clients]
        assert statuses == [200, 200, 502]
        # What was held has been given back.
        assert b.balancer.snapshot().held_bytes == 0


async def test_a_stream_lets_go_of_its_body_as_soon_as_it_is_answered(short_dir: Path) -> None:
    end = asyncio.Event()

    async def slow(call: Call) -> None:
        await call.read_body()
        await end.wait()
        await call.begin_stream()
        await call.chunk(b"data: one\n\n")
        await asyncio.Event().wait()

    async with bench(ScriptedReplica(short_dir, 0, slow)) as b:
        client = await held_by(b, 0)
        assert b.balancer.snapshot().held_bytes == len(BODY)
        end.set()
        await client.head()
        assert b.balancer.snapshot().held_bytes == 0


async def test_beyond_what_a_replica_may_work_on_requests_wait_their_turn(short_dir: Path) -> None:
    go = asyncio.Semaphore(0)
    at_once = 0

    async def slow(call: Call) -> None:
        nonlocal at_once
        body = await call.read_body()
        at_once = max(at_once, b.replicas[0].upstream.in_flight)
        await go.acquire()
        await call.reply(body)

    sections = {"replicas": {"max_in_flight": 2}, "queue": {"size": 3}}
    async with bench(ScriptedReplica(short_dir, 0, slow), **sections) as b:
        clients = []
        for number in range(5):
            clients.append(await b.connect())
            await clients[-1].send("POST", CHAT, body=b"%d" % number)
            await eventually(lambda: b.rotation.in_flight + b.rotation.waiting == len(clients))
        assert (b.rotation.in_flight, b.rotation.waiting) == (2, 3)
        refused = await b.ask("POST", CHAT, body=b"too many")
        assert (refused.status, refused.one("x-should-retry")) == (503, "true")
        assert "as many requests as it may" in refused.json()["error"]["message"]
        clients[2].leave()
        await eventually(lambda: b.rotation.waiting == 2)
        for _ in range(4):
            go.release()
        assert [(await clients[number].answer()).body for number in (0, 1, 3, 4)] == [b"0", b"1", b"3", b"4"]
        assert [request.body for request in b.replicas[0].requests] == [b"0", b"1", b"3", b"4"]
        assert at_once == 2
        waited = [event.waited for event in b.seen if event.outcome == "answered"]
        assert [wait > 0 for wait in waited] == [False, False, True, True]


@pytest.mark.parametrize(
    ("pieces", "at_boundary"),
    [
        ([b"data: one\n\n"], True),
        ([b"data: one\r\n\r\n"], True),
        ([b"data: one\r\r"], True),
        ([b"data: one\n", b"\n"], True),
        ([b"data: one\r\n", b"\r", b"\n"], True),
        ([b"data: one\n\n", b": comment\n"], False),
        ([b"data: one\n\n", b"d"], False),
        ([b"data: one"], False),
    ],
)
async def test_a_cut_stream_ends_with_an_event_only_where_one_can_begin(
    short_dir: Path, pieces: list[bytes], at_boundary: bool
) -> None:
    async def stream(call: Call) -> None:
        await call.read_body()
        await call.begin_stream()
        for piece in pieces:
            await call.chunk(piece)
        call.writer.close()

    async with bench(ScriptedReplica(short_dir, 0, stream)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, body=BODY)
        await client.head()
        received = await until_cut(client)
        sent = b"".join(pieces)
        if at_boundary:
            assert received.startswith(sent)
            assert json.loads(received[len(sent) :].removeprefix(b"data: "))["error"]["code"] == "replica_failed"
        else:
            assert sent.startswith(received)


@pytest.mark.parametrize(
    "head", [b"content-type: text/event-stream\r\ncontent-encoding: gzip\r\n", b"content-type: text/plain\r\n"]
)
async def test_a_cut_answer_that_is_coded_or_no_stream_of_events_gets_none(short_dir: Path, head: bytes) -> None:
    async def stream(call: Call) -> None:
        await call.read_body()
        await call.begin_stream(head)
        await call.chunk(b"data: one\n\n")
        call.writer.close()

    async with bench(ScriptedReplica(short_dir, 0, stream)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, body=BODY)
        await client.head()
        assert await until_cut(client) in {b"", b"data: one\n\n"}
