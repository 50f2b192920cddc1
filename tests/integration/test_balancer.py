"""The balancer over real sockets, against replicas that follow a script; each promise under asyncio and under uvloop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.loops import on_both_loops
from tests.wire import CHAT, POOL_KEY, Call, ScriptedReplica, bench, read_chunk


@on_both_loops
async def test_a_post_without_a_key_reaches_the_replica_with_the_pools(directory: Path):
    async with bench(ScriptedReplica(directory)) as b:
        answer = await b.ask("POST", "/chat/completions", body=b'{"model": "gpt-4"}')
        assert answer.status == 200
        assert answer.json() == {"hello": "world"}
        assert answer.one("x-litesup-replica") == "0"
        (request,) = b.replicas[0].requests
        assert request.start == "POST /chat/completions HTTP/1.1"
        assert request.one("authorization") == f"Bearer {POOL_KEY}"
        assert request.one("x-forwarded-for") == "127.0.0.1"
        assert request.body == b'{"model": "gpt-4"}'
        assert request.one("x-request-id") == answer.one("x-request-id")
        (event,) = b.seen
        assert (event.status, event.outcome, event.slot, event.attempts) == (200, "answered", 0, 1)
        assert event.route == "chat/completions"


@on_both_loops
async def test_the_first_chunk_reaches_the_client_before_the_replica_sends_the_second(directory: Path):
    first_seen = asyncio.Event()

    async def stream(call: Call) -> None:
        await call.read_body()
        await call.begin_stream()
        await call.chunk(b"data: one\n\n")
        await first_seen.wait()
        await call.chunk(b"data: two\n\n")
        await call.send(b"0\r\n\r\n")

    async with bench(ScriptedReplica(directory, script=stream)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, body=b"{}")
        assert (await client.head()).one("content-type") == "text/event-stream"
        assert await read_chunk(client.reader) == b"data: one\n\n"
        first_seen.set()
        assert await read_chunk(client.reader) == b"data: two\n\n"
        assert await read_chunk(client.reader) == b""


@on_both_loops
async def test_fifty_streams_at_once_lose_nothing(directory: Path):
    async def stream(call: Call) -> None:
        name = await call.read_body()
        await call.begin_stream()
        for number in range(20):
            await call.chunk(b"data: %b %d\n\n" % (name, number))
            await asyncio.sleep(0)
        await call.send(b"0\r\n\r\n")

    async with bench(*(ScriptedReplica(directory, slot, stream) for slot in range(3))) as b:

        async def one(number: int) -> None:
            answer = await b.ask("POST", CHAT, body=b"%d" % number)
            assert answer.body == b"".join(b"data: %d %d\n\n" % (number, line) for line in range(20))

        await asyncio.gather(*(one(number) for number in range(50)))
        assert {len(replica.requests) for replica in b.replicas} <= {16, 17}
        assert [event.outcome for event in b.seen] == ["answered"] * 50
        assert b.rotation.in_flight == 0


@on_both_loops
async def test_chunks_keep_their_boundaries_and_lengths_their_header(directory: Path):
    async def script(call: Call) -> None:
        if call.request.start.startswith("GET"):
            await call.reply(b"[]")
            return
        await call.read_body()
        await call.begin_stream()
        await call.send(b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n")

    async with bench(ScriptedReplica(directory, script=script)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, body=b"{}")
        assert not (await client.head()).all("content-length")
        assert [await read_chunk(client.reader) for _ in range(3)] == [b"one", b"three", b""]
        answer = await client.ask("GET", "/v1/models")
        assert answer.one("content-length") == "2"
        assert not answer.all("transfer-encoding")


@on_both_loops
async def test_connections_are_kept_on_both_sides(directory: Path):
    async with bench(ScriptedReplica(directory)) as b:
        client = await b.connect()
        for _ in range(5):
            assert (await client.ask("POST", CHAT, body=b"{}")).status == 200
        assert b.replicas[0].accepted == 1


@on_both_loops
async def test_what_a_client_sends_with_its_own_key_arrives_unchanged_and_so_does_the_answer(directory: Path):
    async def script(call: Call) -> None:
        await call.reply(
            b"no",
            status="418 I Like Tea",
            head=b"Server: theirs\r\nDate: then\r\nX-Odd: a\r\nx-odd:  b\r\nSet-Cookie: c\r\n",
        )

    async with bench(ScriptedReplica(directory, script=script)) as b:
        client = await b.connect()
        target = "/key%2Finfo/../x//y/?a=%20b&b=+&&c"
        fields = {
            "aUTHORIZATION": "Bearer sk-mine",
            "X-Case": "kept",
            "Accept-Encoding": "br",
            "traceparent": "00-1-2-03",
        }
        answer = await client.ask("GET", target, fields)
        (request,) = b.replicas[0].requests
        assert request.start == f"GET {target} HTTP/1.1"
        for field in fields.items():
            assert field in request.headers
        assert answer.start == "HTTP/1.1 418 I Like Tea"
        assert answer.headers[:5] == [
            ("content-length", "2"),
            ("Server", "theirs"),
            ("Date", "then"),
            ("X-Odd", "a"),
            ("x-odd", "b"),
        ]
        assert [name.lower() for name, _ in answer.headers].count("date") == 1
        assert answer.body == b"no"


@on_both_loops
async def test_a_body_that_ends_with_its_connection_gets_an_end_that_can_be_told_from_a_cut(directory: Path):
    async def script(call: Call) -> None:
        await call.send(b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nall of it")
        call.writer.close()

    async with bench(ScriptedReplica(directory, script=script)) as b:
        client = await b.connect()
        for _ in range(2):
            answer = await client.ask("GET", "/v1/models")
            assert (answer.one("transfer-encoding"), answer.body) == ("chunked", b"all of it")


@on_both_loops
async def test_head_and_no_content_have_no_body(directory: Path):
    async def script(call: Call) -> None:
        if call.request.start.startswith("HEAD"):
            await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")
        else:
            await call.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with bench(ScriptedReplica(directory, script=script)) as b:
        client = await b.connect()
        key = {"Authorization": "Bearer sk-1"}
        for _ in range(2):
            assert (await client.ask("HEAD", "/v1/models", key)).one("content-length") == "500"
            await client.send("DELETE", "/v1/files/1", key)
            assert (await client.answer(bodiless=True)).status == 204


@on_both_loops
async def test_an_expectation_is_met_by_us_and_interim_responses_of_the_replica_are_passed_on(directory: Path):
    async def script(call: Call) -> None:
        await call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await call.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\nConnection: x\r\nX: y\r\n\r\n")
        await call.read_body()
        await call.reply(call.request.body)

    async with bench(ScriptedReplica(directory, script=script)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, {"Content-Length": "4", "Expect": "100-continue"})
        assert (await client.head()).start == "HTTP/1.1 100 Continue"
        client.writer.write(b"body")
        early = await client.head()
        assert (early.status, early.headers) == (103, [("Link", "</a>")])
        assert (await client.answer()).body == b"body"
        assert not b.replicas[0].requests[0].all("expect")
        client = await b.connect()
        await client.send("POST", CHAT, body=b"{}", version="1.0")
        assert (await client.head()).status == 200


@on_both_loops
async def test_targets_that_are_not_paths_are_refused(directory: Path):
    async with bench(ScriptedReplica(directory)) as b:
        assert (await b.ask("GET", "http://10.0.0.1/v1/models")).status == 400
        assert (await b.ask("GET", "v1/models")).status == 400
        assert (await b.ask("CONNECT", "10.0.0.1:443")).status == 405
        assert not b.replicas[0].requests


@on_both_loops
async def test_a_client_of_http_1_0_gets_a_body_that_ends_with_the_connection(directory: Path):
    async def stream(call: Call) -> None:
        cut = await call.read_body() == b"cut"
        await call.begin_stream()
        await call.chunk(b"data: one\n\n")
        if cut:
            call.hang_up()
        await call.send(b"0\r\n\r\n")

    async with bench(ScriptedReplica(directory, script=stream)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, body=b"{}", version="1.0")
        answer = await client.answer()
        assert not answer.all("transfer-encoding")
        assert answer.body == b"data: one\n\n"
        client = await b.connect()
        await client.send("POST", CHAT, body=b"cut", version="1.0")
        # An orderly end would look like the end of the body.
        with pytest.raises(ConnectionError):
            await client.answer()


@on_both_loops
async def test_a_client_that_asks_for_it_is_hung_up_on(directory: Path):
    async with bench(ScriptedReplica(directory)) as b:
        client = await b.connect()
        answer = await client.ask("POST", CHAT, {"Connection": "close"}, b"{}")
        assert (answer.status, answer.one("connection")) == (200, "close")
        assert await client.reader.read() == b""
        assert b.replicas[0].requests[0].all("connection") == []
