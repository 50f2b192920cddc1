"""The balancer over real sockets, against replicas that follow a script; each promise under asyncio and under uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
import uvloop

from supervisor.balancer.listen import PortTaken, listen
from supervisor.balancer.pool import Pool
from supervisor.balancer.upstream import Connection
from supervisor.errors import ConfigurationRefused
from supervisor.rotation import Upstream
from supervisor.settings.schema import Settings
from supervisor.status import Condition
from tests.eventually import eventually
from tests.wire import CHAT, POOL_KEY, Call, ScriptedReplica, bench, read_chunk


async def settled(value: Callable[[], int]) -> int:
    """The value once it has not changed for a fifth of a second."""
    last, quiet = value(), 0
    while quiet < 20:
        await asyncio.sleep(0.01)
        quiet = quiet + 1 if value() == last else 0
        last = value()
    return last


def on_both_loops(scenario: Callable[[Path], Coroutine[object, object, None]]) -> Callable[..., None]:
    @pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    def test(new_loop: Callable[[], asyncio.AbstractEventLoop], short_dir: Path) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(asyncio.wait_for(scenario(short_dir), 60))

    test.__name__ = scenario.__name__
    return test


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
async def test_a_replica_that_refuses_is_passed_over_whatever_the_method(directory: Path):
    async with bench(ScriptedReplica(directory, 0), ScriptedReplica(directory, 1)) as b:
        await b.replicas[0].stop()
        for method in ("POST", "DELETE", "PATCH"):
            for _ in range(2):
                answer = await b.ask(method, "/key/x", {"Authorization": "Bearer sk-1"}, b"{}")
                assert (answer.status, answer.one("x-litesup-replica")) == (200, "1")
        assert {event.attempts for event in b.seen} == {2}


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
    async def die(call: Call) -> None:
        await call.read_body()
        call.hang_up()

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
    async def die(call: Call) -> None:
        await call.read_body()
        call.hang_up()

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
    async def die(call: Call) -> None:
        await call.read_body()
        call.hang_up()

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
async def test_a_request_waits_until_a_replica_is_there(directory: Path):
    async with bench() as b:
        client = await b.connect()
        await client.send("POST", CHAT, body=b"{}")
        await eventually(lambda: b.rotation.waiting == 1, within=5)
        await b.add(ScriptedReplica(directory))
        assert (await client.answer()).status == 200


@on_both_loops
async def test_a_full_queue_and_too_long_a_wait_are_503_and_say_when_to_come_back(directory: Path):
    async with bench(queue={"size": 1, "timeout": 0.5}) as b:
        client = await b.connect()
        await client.send("POST", CHAT, body=b"{}")
        await eventually(lambda: b.rotation.waiting == 1, within=5)
        full = await b.ask("POST", CHAT, body=b"{}")
        late = await client.answer()
        for answer in (full, late):
            assert answer.status == 503
            assert int(answer.one("retry-after")) >= 1
            assert int(answer.one("retry-after-ms")) >= 1
            assert answer.one("x-should-retry") == "true"
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert "full" in full.json()["error"]["message"]
        assert [event.outcome for event in b.seen] == ["unavailable"] * 2


@on_both_loops
async def test_a_client_that_leaves_while_it_waits_leaves_the_line(directory: Path):
    async with bench() as b:
        client = await b.connect()
        await client.send("POST", CHAT, body=b"{}")
        await eventually(lambda: b.rotation.waiting == 1, within=5)
        client.leave()
        await eventually(lambda: b.rotation.waiting == 0, within=1)


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
async def test_health_is_answered_without_a_replica(directory: Path):
    paths = ("/health/liveliness", "/health/liveness", "/health/readiness", "/health")
    async with bench() as b:
        b.condition = Condition.STARTING
        for path in paths:
            assert (await b.ask("GET", path)).status == 503
        await b.add(ScriptedReplica(directory))
        b.condition = Condition.READY
        for path in paths:
            assert (await b.ask("GET", path)).status == 200
            assert (await b.ask("HEAD", path)).status == 200
        document = (await b.ask("GET", "/health")).json()
        assert (document["healthy_count"], document["unhealthy_count"]) == (1, 0)
        assert document["healthy_endpoints"] == [{"replica": 0, "state": "ready"}]
        assert not b.replicas[0].requests
        b.condition = Condition.STOPPING
        for path in paths:
            assert (await b.ask("GET", path)).status == 503
        assert (await b.ask("GET", "/health", {"Authorization": "Bearer sk-1"})).json() == {"hello": "world"}
        assert {event.route for event in b.seen} == {"health"}


@on_both_loops
async def test_health_is_open_to_addresses_that_are_not_allowed(directory: Path):
    async with bench(ScriptedReplica(directory), access={"allow": ["10.0.0.0/8"]}) as b:
        assert (await b.ask("GET", "/health/readiness")).status == 200
        assert (await b.ask("GET", "/health")).status == 200
        assert (await b.ask("POST", CHAT, {"Authorization": "Bearer sk-1"}, b"{}")).status == 403


KEYS = [
    {"Authorization": "Bearer sk-mine"},
    {"authorization": ""},
    {"x-litellm-api-key": "sk-mine"},
    {"API-Key": "sk-mine"},
    {"x-api-key": "sk-mine"},
    {"x-goog-api-key": "sk-mine"},
    {"Ocp-Apim-Subscription-Key": "sk-mine"},
    {"litellm_user_api_key": "sk-mine"},
    {"X-Company-Key": "sk-mine"},
]


@on_both_loops
async def test_a_client_with_a_key_in_any_of_litellms_places_is_never_given_the_pools(directory: Path):
    replica = ScriptedReplica(directory)
    replica.upstream.key_header = "X-Company-Key"
    async with bench(replica) as b:
        for target in (CHAT, "/key/info"):
            for fields in KEYS:
                assert (await b.ask("POST", target, fields, b"{}")).status == 200
            assert (await b.ask("POST", target + "?key=sk-mine", body=b"{}")).status == 200
        assert len(replica.requests) == 20
        for request in replica.requests:
            assert POOL_KEY not in str(request.headers)
        assert (await b.ask("POST", CHAT, body=b"{}")).status == 200
        assert replica.requests[-1].one("x-company-key") == f"Bearer {POOL_KEY}"


@on_both_loops
async def test_a_web_page_without_a_key_is_refused(directory: Path):
    async with bench(ScriptedReplica(directory)) as b:
        for fields in (
            {"Origin": "https://evil.example"},
            {"Origin": "null", "Content-Type": "text/plain"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Host": "evil.example"},
            {"Host": "127.0.0.1.evil.example:8000"},
        ):
            answer = await b.ask("POST", CHAT, fields, b"{}")
            assert answer.status == 403
            assert answer.json()["error"]["type"] == "permission_error"
        assert not b.replicas[0].requests
        assert {event.outcome for event in b.seen} == {"refused"}


@on_both_loops
async def test_without_a_key_only_inference_is_served(directory: Path):
    async with bench(ScriptedReplica(directory)) as b:
        for method, target in (
            ("GET", "/key/info"),
            ("POST", "/v1/files"),
            ("POST", "/v1/chat/completions/"),
            ("POST", "/v1//chat/completions"),
            ("POST", "/v1/chat%2Fcompletions"),
            ("POST", "/key/../v1/chat/completions"),
            ("GET", "/v1/models/..%2Fkey"),
        ):
            answer = await b.ask(method, target, body=b"{}" if method == "POST" else b"")
            assert answer.status == 401
            assert answer.json()["error"]["code"] == "missing_api_key"
        assert not b.replicas[0].requests
        assert (await b.ask("GET", "/v1/models/gpt-4")).status == 200


@on_both_loops
async def test_only_trusted_addresses_may_come_without_a_key(directory: Path):
    async with bench(ScriptedReplica(directory), access={"trusted": ["10.0.0.0/8"]}) as b:
        assert (await b.ask("POST", CHAT, body=b"{}")).status == 401
    async with bench(ScriptedReplica(directory, 1), access={"proxies": ["127.0.0.1/32"]}) as b:
        assert (await b.ask("POST", CHAT, {"X-Forwarded-For": "10.1.2.3"}, b"{}")).status == 401
        own = {"X-Forwarded-For": "6.6.6.6, 10.1.2.3", "Authorization": "Bearer sk-1"}
        assert (await b.ask("POST", CHAT, own, b"{}")).status == 200
        assert b.replicas[0].requests[0].all("x-forwarded-for") == ["10.1.2.3"]


@on_both_loops
async def test_targets_that_are_not_paths_are_refused(directory: Path):
    async with bench(ScriptedReplica(directory)) as b:
        assert (await b.ask("GET", "http://10.0.0.1/v1/models")).status == 400
        assert (await b.ask("GET", "v1/models")).status == 400
        assert (await b.ask("CONNECT", "10.0.0.1:443")).status == 405
        assert not b.replicas[0].requests


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
async def test_removing_a_replica_closes_its_idle_connections(directory: Path):
    async with bench(ScriptedReplica(directory)) as b:
        await b.ask("POST", CHAT, body=b"{}")
        assert b.replicas[0].open == 1
        b.rotation.remove(1)
        await eventually(lambda: b.replicas[0].open == 0, within=2)


@on_both_loops
async def test_idle_connections_are_closed_after_their_time(directory: Path):
    async with bench(ScriptedReplica(directory), balancer={"idle_upstream_timeout": 0.2}) as b:
        await b.ask("POST", CHAT, body=b"{}")
        await eventually(lambda: b.replicas[0].open == 0, within=5)


@on_both_loops
async def test_stopping_lets_requests_finish_and_closes_idle_connections(directory: Path):
    go = asyncio.Event()

    async def slow(call: Call) -> None:
        await call.read_body()
        await go.wait()
        await call.reply(b"done")

    async with bench(ScriptedReplica(directory, script=slow)) as b:
        busy, idle = await b.connect(), await b.connect()
        await busy.send("POST", CHAT, body=b"{}")
        await eventually(lambda: b.rotation.in_flight == 1, within=5)
        stopping = asyncio.create_task(b.balancer.stop(30))
        assert await idle.reader.read() == b""
        with pytest.raises(ConnectionError):
            await b.connect()
        go.set()
        answer = await busy.answer()
        assert (answer.body, answer.one("connection")) == (b"done", "close")
        await asyncio.wait_for(stopping, 5)


@on_both_loops
async def test_stopping_ends_what_outlasts_the_drain(directory: Path):
    async def silent(call: Call) -> None:
        await call.reader.read()

    async with bench(ScriptedReplica(directory, script=silent)) as b:
        client = await b.connect()
        await client.send("POST", CHAT, body=b"{}")
        await eventually(lambda: b.rotation.in_flight == 1, within=5)
        await asyncio.wait_for(b.balancer.stop(0.1), 5)
        assert await client.reader.read() == b""
        assert (b.seen[0].outcome, b.rotation.in_flight) == ("cut", 0)


@on_both_loops
async def test_a_taken_port_is_named(directory: Path):
    async with bench() as b:
        with pytest.raises(PortTaken, match=str(b.port)):
            await listen(["127.0.0.1"], b.port)


@on_both_loops
async def test_listening_beyond_this_machine_needs_a_word_about_who_may_come(directory: Path):
    with pytest.raises(ConfigurationRefused, match="allow"):
        async with bench(balancer={"host": ["0.0.0.0"]}):
            pass
    async with bench(balancer={"host": ["0.0.0.0"]}, access={"allow": ["127.0.0.0/8"]}) as b:
        assert (await b.ask("GET", "/health")).status == 503


@on_both_loops
async def test_an_open_port_objects_to_settings_under_which_it_would_be_unguarded(directory: Path) -> None:
    async with bench(balancer={"host": ["0.0.0.0"]}, access={"allow": ["127.0.0.0/8"]}) as b:
        b.balancer.allows(Settings.model_validate({"access": {"trusted": []}}))
        with pytest.raises(ConfigurationRefused, match="allow"):
            b.balancer.allows(Settings())
    async with bench() as b:
        b.balancer.allows(Settings())


@on_both_loops
async def test_other_access_rules_hold_for_a_client_that_is_connected(directory: Path) -> None:
    async with bench(ScriptedReplica(directory)) as b:
        client = await b.connect()
        assert (await client.ask("POST", CHAT, body=b"{}")).status == 200
        b.balancer.rule(Settings.model_validate({"access": {"allow": ["10.0.0.0/8"]}}))
        assert (await client.ask("POST", CHAT, body=b"{}")).status == 403


UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "abc", "Sec-WebSocket-Version": "13"}


async def echo(call: Call) -> None:
    """Switches protocols and returns whatever comes, after a first byte of its own."""
    await call.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n>"
    )
    while data := await call.reader.read(2**16):
        await call.send(data)
        if data == b"bye":
            call.hang_up()


@on_both_loops
async def test_a_websocket_is_a_tunnel(directory: Path):
    async with bench(ScriptedReplica(directory, script=echo)) as b:
        client = await b.connect()
        await client.send("GET", "/v1/realtime?model=m", UPGRADE)
        answer = await client.head()
        assert (answer.status, answer.one("upgrade"), answer.one("sec-websocket-accept")) == (101, "websocket", "x")
        assert await client.reader.readexactly(1) == b">"
        (request,) = b.replicas[0].requests
        assert request.one("connection").lower() == "upgrade"
        assert request.one("sec-websocket-key") == "abc"
        assert request.one("authorization") == f"Bearer {POOL_KEY}"
        blob = bytes(range(256)) * 2**14
        client.writer.write(blob)
        assert await client.reader.readexactly(len(blob)) == blob
        assert b.rotation.in_flight == 1
        client.writer.write(b"bye")
        assert await client.reader.read() == b"bye"
        await eventually(lambda: b.rotation.in_flight == 0, within=2)
        assert (b.seen[0].route, b.seen[0].status, b.seen[0].outcome) == ("realtime", 101, "answered")


@on_both_loops
async def test_a_websocket_client_that_leaves_ends_the_replicas_connection(directory: Path):
    async with bench(ScriptedReplica(directory, script=echo)) as b:
        client = await b.connect()
        await client.send("GET", "/v1/realtime", UPGRADE)
        await client.head()
        client.leave()
        await eventually(lambda: b.replicas[0].open == 0 and b.rotation.in_flight == 0, within=1)


@on_both_loops
async def test_a_websocket_that_is_declined_gets_the_replicas_answer(directory: Path):
    async def decline(call: Call) -> None:
        await call.reply(b"no", status="403 Forbidden")

    async with bench(ScriptedReplica(directory, script=decline)) as b:
        client = await b.connect()
        await client.send("GET", "/v1/realtime", UPGRADE)
        answer = await client.answer()
        assert (answer.status, answer.body) == (403, b"no")
        # Where it was sent they may speak another protocol by now, so the next request goes elsewhere.
        await eventually(lambda: b.replicas[0].open == 0, within=2)
        assert (await client.ask("GET", "/v1/models")).status == 403
        assert b.replicas[0].accepted == 2


@on_both_loops
async def test_a_page_cannot_open_a_websocket_without_a_key(directory: Path):
    async with bench(ScriptedReplica(directory, script=echo)) as b:
        client = await b.connect()
        await client.send("GET", "/v1/realtime", {**UPGRADE, "Origin": "https://evil.example"})
        assert (await client.answer()).status == 403
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
    async def die(call: Call) -> None:
        await call.read_body()
        call.hang_up()

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


@on_both_loops
async def test_a_replica_that_does_not_read_its_websocket_makes_the_client_wait(directory: Path):
    go = asyncio.Event()

    async def stuck(call: Call) -> None:
        await call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await go.wait()
        while await call.reader.read(2**20):
            pass

    async with bench(ScriptedReplica(directory, script=stuck)) as b:
        client = await b.connect()
        await client.send("GET", "/v1/realtime", UPGRADE)
        await client.head()
        written = 0

        async def write() -> None:
            nonlocal written
            for _ in range(64):
                client.writer.write(b"x" * 2**20)
                await client.writer.drain()
                written += 1

        writing = asyncio.create_task(write())
        await settled(lambda: written)
        assert written < 32
        go.set()
        await writing
