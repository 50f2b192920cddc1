"""Bodies in both directions: nothing is gathered, each side waits for the other, and who leaves is missed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from pathlib import Path

import psutil

from tests.eventually import eventually
from tests.loops import on_both_loops, settled
from tests.wire import CHAT, Call, Client, ScriptedReplica, bench


@on_both_loops
async def test_a_client_that_leaves_ends_the_replicas_connection_within_a_second(directory: Path):
    async def endless(call: Call) -> None:
        await call.read_body()
        await call.begin_stream()
        while True:
            await call.chunk(b"data: x\n\n")
            await asyncio.sleep(0.01)

    async def silent(call: Call) -> None:
        await asyncio.Event().wait()

    async with bench(ScriptedReplica(directory, script=endless)) as b:
        for script in (endless, silent):
            b.replicas[0].script = script
            client = await b.connect()
            await client.send("POST", CHAT, body=b"{}")
            await eventually(lambda: b.replicas[0].open == 1 and b.rotation.in_flight == 1, within=5)
            client.leave()
            await eventually(lambda: b.rotation.in_flight == 0, within=1)
            if script is endless:
                await eventually(lambda: b.replicas[0].open == 0, within=1)
        assert [event.outcome for event in b.seen] == ["client_gone"] * 2
        assert [event.status for event in b.seen] == [200, 0]


@on_both_loops
async def test_a_slow_reader_makes_the_replica_wait(directory: Path):
    sent = 0

    async def flood(call: Call) -> None:
        nonlocal sent
        await call.read_body()
        await call.begin_stream(b"")
        call.writer.transport.set_write_buffer_limits(high=0)
        for _ in range(64):
            await call.chunk(b"x" * 2**20)
            sent += 1
        await call.send(b"0\r\n\r\n")

    async with bench(ScriptedReplica(directory, script=flood)) as b:
        client = await b.connect()
        client.pause_reading()
        await client.send("POST", CHAT, body=b"{}")
        await eventually(lambda: sent, within=5)
        # Only what fits in kernel buffers and the read-ahead has left the replica, and there it stays.
        await settled(lambda: sent)
        assert sent < 32
        client.resume_reading()
        answer = await client.answer()
        assert len(answer.body) == 64 * 2**20


@on_both_loops
async def test_a_large_upload_arrives_whole_and_is_not_gathered_first(directory: Path):
    begun = asyncio.Event()

    async def count(call: Call) -> None:
        begun.set()
        body = await call.read_body()
        await call.reply(b"%d" % len(body))

    async with bench(ScriptedReplica(directory, script=count)) as b:
        client = await b.connect()
        size = 20 * 2**20
        await client.send("POST", "/v1/files", {"Authorization": "Bearer sk-1", "Content-Length": str(size)})
        client.writer.write(b"x" * 2**20)
        await asyncio.wait_for(begun.wait(), 5)
        for _ in range(19):
            client.writer.write(b"x" * 2**20)
            await client.writer.drain()
        assert (await client.answer()).body == b"%d" % size

        await client.send("POST", "/v1/files", {"Authorization": "Bearer sk-1", "Transfer-Encoding": "chunked"})
        for _ in range(20):
            client.writer.write(b"%x\r\n%b\r\n" % (2**16, b"y" * 2**16))
        client.writer.write(b"0\r\n\r\n")
        assert (await client.answer()).body == b"%d" % (20 * 2**16)
        assert b.replicas[0].accepted == 1


@on_both_loops
async def test_an_answer_before_the_body_has_been_sent_reaches_the_client(directory: Path):
    async def impatient(call: Call) -> None:
        await call.reply(b"too large", status="413 Content Too Large")
        await call.read_body()

    async with bench(ScriptedReplica(directory, script=impatient)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, {"Content-Length": str(2**20)}, b"x" * 1000)
        answer = await client.answer()
        assert (answer.status, answer.body) == (413, b"too large")
        await eventually(lambda: b.replicas[0].open == 0, within=2)


@on_both_loops
async def test_a_client_that_leaves_while_it_waits_leaves_the_line(directory: Path):
    async with bench() as b:
        client = await b.connect()
        await client.send("POST", CHAT, body=b"{}")
        await eventually(lambda: b.rotation.waiting == 1, within=5)
        client.leave()
        await eventually(lambda: b.rotation.waiting == 0, within=1)


@on_both_loops
async def test_a_body_that_is_not_what_was_announced_is_a_400_and_reaches_no_replica_whole(directory: Path):
    async with bench(ScriptedReplica(directory)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, {"Transfer-Encoding": "chunked"}, b"5\r\nhello\r\nnonsense\r\n")
        assert (await client.answer()).status == 400
        await eventually(lambda: b.rotation.in_flight == 0 and b.replicas[0].open == 0, within=2)
        for coding in ("gzip, chunked", "gzip"):
            assert (await b.ask("POST", CHAT, {"Transfer-Encoding": coding}, b"0\r\n\r\n")).status in {400, 501}


@on_both_loops
async def test_a_body_that_does_not_come_is_not_waited_for_for_ever(directory: Path):
    async with bench(ScriptedReplica(directory), limits={"body_timeout": 0.2}) as b:
        for length in (100, 10_000_000):
            client = await b.connect()
            await client.send("POST", CHAT, {"Content-Length": str(length)}, b"x")
            assert (await client.head()).status == 408
        await eventually(lambda: b.rotation.in_flight == 0 and b.replicas[0].open == 0, within=2)


@on_both_loops
async def test_a_client_that_never_reads_is_given_up(directory: Path):
    async def flood(call: Call) -> None:
        await call.read_body()
        await call.begin_stream(b"")
        while True:
            await call.chunk(b"x" * 2**20)

    async with bench(ScriptedReplica(directory, script=flood), balancer={"response_timeout": 0.3}) as b:
        client = await b.connect()
        client.pause_reading()
        await client.send("POST", CHAT, body=b"{}")
        await eventually(lambda: [event.outcome for event in b.seen] == ["client_gone"], within=10)
        await eventually(lambda: b.rotation.in_flight == 0 and b.replicas[0].open == 0, within=2)


@on_both_loops
async def test_a_client_that_leaves_in_the_middle_of_an_upload_that_nobody_takes_is_missed(directory: Path):
    """By a reset: an orderly end cannot be seen before the bytes that the client's kernel still has to deliver."""

    async def stuck(call: Call) -> None:
        await asyncio.Event().wait()

    async with bench(ScriptedReplica(directory, script=stuck)) as b:
        client = await b.connect()
        await client.send("POST", "/v1/files", {"Authorization": "Bearer sk-1", "Content-Length": str(2**30)})
        assert await fill(client) < 64 * 2**20
        assert b.rotation.in_flight == 1
        sock = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.leave()
        await eventually(lambda: b.rotation.in_flight == 0, within=1)
        assert [event.outcome for event in b.seen] == ["client_gone"]


@on_both_loops
async def test_a_client_that_stops_in_the_middle_of_an_upload_and_leaves_is_missed(directory: Path):
    async def take(call: Call) -> None:
        await call.read_body()

    async with bench(ScriptedReplica(directory, script=take)) as b:
        client = await b.connect()
        await client.send(
            "POST", "/v1/files", {"Authorization": "Bearer sk-1", "Content-Length": str(2**30)}, b"x" * 2**20
        )
        await eventually(lambda: b.rotation.in_flight == 1, within=5)
        client.leave()
        await eventually(lambda: b.rotation.in_flight == 0 and b.replicas[0].open == 0, within=1)


@on_both_loops
async def test_a_client_that_leaves_the_line_is_missed_though_its_body_has_not_been_read(directory: Path):
    async with bench() as b:
        client = await b.connect()
        await client.send("POST", "/v1/files", {"Authorization": "Bearer sk-1"}, b"x" * 2**20)
        await eventually(lambda: b.rotation.waiting == 1, within=5)
        (transport,) = (connection.transport for connection in b.balancer._house.crowd.at_work)
        assert transport is not None
        await eventually(lambda: not transport.is_reading(), within=5)
        client.leave()
        await eventually(lambda: b.rotation.waiting == 0, within=1)


@on_both_loops
async def test_a_client_that_closes_its_side_is_gone(directory: Path):
    async def silent(call: Call) -> None:
        await call.read_body()
        await call.reader.read()

    async with bench(ScriptedReplica(directory, script=silent)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, body=b"{}")
        await eventually(lambda: b.rotation.in_flight == 1, within=5)
        client.writer.write_eof()
        await eventually(lambda: b.rotation.in_flight == 0 and b.replicas[0].open == 0, within=1)


@on_both_loops
async def test_a_client_that_reads_nothing_and_closes_its_side_is_gone(directory: Path):
    sent = 0

    async def flood(call: Call) -> None:
        nonlocal sent
        await call.read_body()
        await call.begin_stream(b"")
        while True:
            await call.chunk(b"x" * 2**18)
            sent += 1

    async with bench(ScriptedReplica(directory, script=flood)) as b:
        client = await b.connect()
        client.pause_reading()
        await client.send("POST", CHAT, body=b"{}")
        await eventually(lambda: sent, within=5)
        await settled(lambda: sent)
        client.writer.write_eof()
        await eventually(lambda: b.rotation.in_flight == 0 and b.replicas[0].open == 0, within=1)


async def fill(client: Client) -> int:
    """Writes until nothing more is taken; how much was."""
    written = 0

    async def write() -> None:
        nonlocal written
        with contextlib.suppress(ConnectionError):
            while True:
                client.writer.write(b"x" * 2**18)
                await client.writer.drain()
                written += 2**18

    writing = asyncio.create_task(write())
    await eventually(lambda: written, within=5)
    await settled(lambda: written)
    writing.cancel()
    return written


@on_both_loops
async def test_a_hundred_megabytes_pass_in_flat_memory(directory: Path):
    size, piece = 100 * 2**20, b"x" * 2**18
    received = 0

    async def count(call: Call) -> None:
        nonlocal received
        while received < size:
            received += len(await call.reader.read(2**18))
        await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size // len(piece)):
            await call.send(piece)

    process = psutil.Process()
    async with bench(ScriptedReplica(directory, script=count)) as b:
        client = await b.connect()
        before = process.memory_info().rss
        highest = before
        await client.send("POST", "/v1/files", {"Authorization": "Bearer sk-1", "Content-Length": str(size)})
        for _ in range(size // len(piece)):
            client.writer.write(piece)
            await client.writer.drain()
            highest = max(highest, process.memory_info().rss)
        assert (await client.head()).one("content-length") == str(size)
        left = size
        while left:
            left -= len(await client.reader.read(2**18))
            highest = max(highest, process.memory_info().rss)
        assert highest - before < 40 * 2**20
