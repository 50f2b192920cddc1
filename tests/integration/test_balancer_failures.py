"""What a client sees when replicas fail, over real sockets; each promise under asyncio and under uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import types
import unittest.mock
from pathlib import Path

import pytest

from supervisor.balancer.pool import Pool
from supervisor.balancer.upstream import Connection
from supervisor.rotation import Upstream
from tests.eventually import eventually
from tests.loops import on_both_loops
from tests.wire import CHAT, Call, ScriptedReplica, bench, die, read_chunk


@on_both_loops
async def test_a_replica_that_refuses_is_passed_over_whatever_the_method(directory: Path):
    async with bench(ScriptedReplica(directory, 0), ScriptedReplica(directory, 1)) as b:
        await b.replicas[0].stop()
        for method in ("POST", "DELETE", "PATCH"):
            for _ in range(2):
                answer = await b.ask(method, "/key/x", {"Authorization": "Bearer sk-1"}, b"{}")
                assert (answer.status, answer.one("x-litesup-replica")) == (200, "1")
        assert {event.attempts for event in b.seen} == {2}


@on_both_loops
async def test_what_a_client_breaks_off_itself_while_it_is_answered_is_no_failure_of_the_replica(directory: Path):
    async def answer_early(call: Call) -> None:
        await call.begin_stream()
        await call.chunk(b"data: 1\n\n")
        await call.reader.read()

    async with bench(ScriptedReplica(directory, script=answer_early)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, {"Transfer-Encoding": "chunked"})
        await client.head()
        client.writer.write(b"no size\r\n")
        await client.reader.read()
        await eventually(lambda: len(b.seen) == 1, within=5)
        assert b.seen[0].outcome == "client_gone"
        assert b.replicas[0].upstream.failures == 0
        assert b.balancer.snapshot().failed == 0


@on_both_loops
async def test_while_the_daemon_has_no_descriptor_left_a_request_waits(directory: Path):
    asked = 0

    def now_and_then(*arguments: int) -> socket.socket:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return socket.socket(*arguments)

    async with bench(ScriptedReplica(directory)) as b:
        client = await b.connect()
        scarce = types.SimpleNamespace(**{**vars(socket), "socket": now_and_then})
        with unittest.mock.patch("supervisor.balancer.pool.socket", scarce):
            assert (await client.ask("POST", CHAT, body=b"{}")).status == 200
        assert asked == 3


@on_both_loops
async def test_a_pooled_connection_that_has_ended_is_replaced_by_another_to_the_same_replica(directory: Path):
    async def once(call: Call) -> None:
        await call.read_body()
        await call.reply(b"{}")
        call.hang_up()

    async with bench(ScriptedReplica(directory, script=once)) as b:
        client = await b.connect()
        for _ in range(5):
            answer = await client.ask("POST", "/key/new", {"Authorization": "Bearer sk-1"}, b"{}")
            assert answer.status == 200
        assert b.replicas[0].accepted == 5
        assert {event.attempts for event in b.seen} == {1}


@on_both_loops
async def test_what_creates_something_is_not_sent_twice_once_a_byte_of_it_was_taken(directory: Path):
    async with bench(ScriptedReplica(directory, 0, die), ScriptedReplica(directory, 1, die)) as b:
        answer = await b.ask("POST", "/key/generate", {"Authorization": "Bearer sk-1"}, b"{}")
        assert answer.status == 502
        assert answer.json()["error"]["code"] == "replica_failed"
        assert answer.one("x-should-retry") == "false"
        assert sum(len(replica.requests) for replica in b.replicas) == 1
        background = b'{"background": true}'
        assert (await b.ask("POST", "/v1/responses", body=background)).status == 502
        assert sum(len(replica.requests) for replica in b.replicas) == 2


@on_both_loops
async def test_inference_is_sent_once_more_when_its_replica_dies_without_a_byte(directory: Path):
    async with bench(ScriptedReplica(directory, 0, die), ScriptedReplica(directory, 1)) as b:
        body = b"x" * 200_000  # more than is sent in one write
        answer = await b.ask("POST", CHAT, body=body)
        assert (answer.status, answer.one("x-litesup-replica")) == (200, "1")
        assert b.replicas[1].requests[0].body == body
        assert b.seen[0].attempts == 2


@on_both_loops
async def test_a_body_that_nobody_expected_does_not_hinder_the_next_replica(directory: Path):
    """Whether it creates something is asked of whatever the client sent."""

    async with bench(ScriptedReplica(directory, 0), ScriptedReplica(directory, 1)) as b:
        await b.replicas[0].stop()
        for body in (b'{"background": []}', b'{"background": ' + b"[" * 20_000):
            assert (await b.ask("POST", "/v1/responses", body=body)).status == 200


@on_both_loops
async def test_a_request_in_flight_at_two_deaths_is_not_tried_a_third_time(directory: Path):
    async with bench(*(ScriptedReplica(directory, slot, die) for slot in range(3))) as b:
        answer = await b.ask("POST", CHAT, body=b"{}")
        assert (answer.status, answer.one("x-should-retry")) == (502, "false")
        assert "two replicas" in answer.json()["error"]["message"]
        assert sum(len(replica.requests) for replica in b.replicas) == 2
        assert (b.seen[0].outcome, b.balancer.snapshot().failed) == ("unavailable", 1)


@on_both_loops
async def test_an_answer_that_breaks_off_does_not_look_complete(directory: Path):
    async def script(call: Call) -> None:
        kind = await call.read_body()
        if kind == b"length":
            await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        else:
            await call.begin_stream()
            await call.chunk(b"data: one\n\n" if kind == b"boundary" else b"data: on")
        call.writer.close()

    async with bench(ScriptedReplica(directory, script=script)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, body=b"length")
        assert (await client.head()).one("content-length") == "100"
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.reader.readexactly(100)

        client = await b.connect()
        await client.send("POST", CHAT, body=b"middle")
        await client.head()
        assert await read_chunk(client.reader) == b"data: on"
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await read_chunk(client.reader)

        client = await b.connect()
        await client.send("POST", CHAT, body=b"boundary")
        await client.head()
        assert await read_chunk(client.reader) == b"data: one\n\n"
        event = await read_chunk(client.reader)
        assert event.startswith(b'data: {"error": {')
        assert event.endswith(b"\n\n")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await read_chunk(client.reader)
        assert [event.outcome for event in b.seen] == ["cut"] * 3


@on_both_loops
async def test_a_request_refused_by_every_replica_is_answered_by_the_next_one(directory: Path):
    async with bench(ScriptedReplica(directory, 0)) as b:
        await b.replicas[0].stop()
        client = await b.connect()
        await client.send("POST", "/key/new", {"Authorization": "Bearer sk-1"}, b"{}")
        await eventually(lambda: b.rotation.waiting == 1, within=5)
        b.rotation.remove(b.replicas[0].upstream.replica)
        await b.add(ScriptedReplica(directory, 0, replica=7))
        assert (await client.answer()).status == 200


@on_both_loops
async def test_a_silent_replica_is_a_504_and_its_connection_is_closed(directory: Path):
    async def silent(call: Call) -> None:
        await call.read_body()
        await call.reader.read()

    async with bench(ScriptedReplica(directory, script=silent), balancer={"response_timeout": 0.2}) as b:
        answer = await b.ask("POST", CHAT, body=b"{}")
        assert (answer.status, answer.json()["error"]["code"]) == (504, "replica_timeout")
        await eventually(lambda: b.replicas[0].open == 0, within=2)


@on_both_loops
async def test_a_connection_that_waits_in_the_backlog_of_a_stuck_replica_is_bounded(directory: Path):
    """A replica that accepts nothing: once its backlog is full, a connection that cannot be made is not sent."""
    stuck = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    replica = ScriptedReplica(directory, 0)
    stuck.bind(str(replica.upstream.socket_path))
    stuck.listen(0)
    fillers = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(4)]
    try:
        for filler in fillers:
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(str(replica.upstream.socket_path))
        async with bench(balancer={"connect_timeout": 0.2}) as b:
            b.rotation.add(replica.upstream)
            await b.add(ScriptedReplica(directory, 1))
            answer = await b.ask("POST", "/key/new", {"Authorization": "Bearer sk-1"}, b"{}")
            assert (answer.status, b.seen[0].attempts) == (200, 2)
    finally:
        for sock in (stuck, *fillers):
            sock.close()


@on_both_loops
async def test_a_body_too_large_to_hold_is_not_sent_twice(directory: Path):
    replicas = ScriptedReplica(directory, 0, die), ScriptedReplica(directory, 1)
    async with bench(*replicas, retry={"body_limit": 1000}) as b:
        answer = await b.ask("POST", CHAT, body=b"x" * 1001)
        assert (answer.status, answer.one("x-should-retry")) == (502, "true")
        assert not b.replicas[1].requests
        b.rotation.set_suspect(2, suspect=True)  # so that the one that dies has its turn
        assert (await b.ask("POST", CHAT, body=b"x" * 1000)).status == 200


@on_both_loops
async def test_a_pooled_connection_that_ends_in_the_moment_of_its_use_does_not_count_against_the_replica(
    directory: Path,
):
    reuse = Pool.reuse

    def ended(pool: Pool, upstream: Upstream) -> Connection | None:
        connection = reuse(pool, upstream)
        if connection is not None:
            # The replica's end closes now, so that nobody's loop can have noticed.
            with socket.socket(fileno=os.dup(replica.writers[-1].get_extra_info("socket").fileno())) as sock:
                sock.shutdown(socket.SHUT_RDWR)
        return connection

    replica = ScriptedReplica(directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pool, "reuse", ended)
        async with bench(replica) as b:
            client = await b.connect()
            for _ in range(3):
                answer = await client.ask("POST", "/key/new", {"Authorization": "Bearer sk-1"}, b"{}")
                assert answer.status == 200
            assert (replica.accepted, {event.attempts for event in b.seen}) == (3, {1})
