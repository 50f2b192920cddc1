"""The connection to a replica, over a pair of sockets: what was sent is a fact."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from supervisor.balancer.upstream import Connection, ResponseTimeout
from supervisor.errors import NotSent, ReplicaGivenUp, ReplicaLost, ResponseCut
from tests.eventually import eventually

REQUEST = b"GET / HTTP/1.1\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Pair:
    connection: Connection
    replica: socket.socket
    ended: list[Connection]

    def send(self) -> None:
        self.connection.send(REQUEST, head_only=False, timeout=5)

    async def exchange(self) -> None:
        self.send()
        self.replica.sendall(ANSWER)
        assert (await self.connection.head()).status == 200
        assert await self.connection.body() == [b"ok"]
        assert self.connection.finish()
        assert self.replica.recv(1000) == REQUEST


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    ours, replica = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.setblocking(False)
    replica.settimeout(5)
    loop = asyncio.get_running_loop()
    ended: list[Connection] = []
    _, connection = await loop.create_unix_connection(lambda: Connection(loop, ours, ended.append), sock=ours)
    yield Pair(connection, replica, ended)
    connection.abort()
    replica.close()


async def test_an_end_that_the_loop_has_not_seen_yet_is_not_sent(pair):
    pair.replica.close()
    with pytest.raises(NotSent):
        pair.send()
    assert pair.connection.closed


async def test_on_a_connection_used_before_an_end_that_only_waits_to_be_read_is_not_sent_and_nothing_is(pair):
    await pair.exchange()
    pair.replica.shutdown(socket.SHUT_WR)
    with pytest.raises(NotSent):
        pair.send()
    await asyncio.sleep(0)
    assert pair.replica.recv(1000) == b""


async def test_an_end_after_the_first_write_is_never_not_sent(pair):
    pair.send()
    pair.replica.close()
    with pytest.raises(ReplicaLost):
        await pair.connection.head()


async def test_an_end_within_the_head_is_a_cut(pair):
    pair.send()
    pair.replica.sendall(b"HTTP/1.1 2")
    pair.replica.close()
    with pytest.raises(ResponseCut):
        await pair.connection.head()


async def test_an_answer_that_comes_when_it_was_given_up_already_is_nobodys(pair):
    pair.send()
    asking = asyncio.create_task(pair.connection.head())
    await asyncio.sleep(0)
    # Both in one turn of the loop, so that the answer is there before the one that asked for it is told.
    pair.connection.give_up()
    pair.connection.data_received(ANSWER)
    with pytest.raises(ReplicaGivenUp):
        await asking
    assert pair.connection.closed


async def test_an_answer_that_comes_when_its_time_is_over_already_is_nobodys(pair):
    pair.send()
    pair.connection._active_at -= 10  # longer than it waits
    asking = asyncio.create_task(pair.connection.head())
    await asyncio.sleep(0)
    # Both in one turn of the loop, so that the answer is there before the one that asked for it is told.
    pair.connection._check_silence()
    pair.connection.data_received(ANSWER)
    with pytest.raises(ResponseTimeout):
        await asking
    assert not pair.connection.finish()


async def test_what_came_while_the_loop_stood_still_is_no_silence(pair):
    pair.send()
    pair.connection._active_at -= 10  # longer than it waits
    pair.replica.sendall(ANSWER)
    pair.connection._check_silence()
    assert (await pair.connection.head()).status == 200
    assert await pair.connection.body() == [b"ok"]
    assert pair.connection.finish()


async def test_what_is_not_http_is_a_cut(pair):
    pair.send()
    pair.replica.sendall(b"SSH-2.0-OpenSSH\r\n")
    with pytest.raises(ResponseCut, match="cannot be passed on"):
        await pair.connection.head()


async def test_what_arrived_before_a_cut_is_handed_out_first(pair):
    pair.send()
    pair.replica.sendall(ANSWER[:-1])
    pair.replica.close()
    await pair.connection.head()
    assert await pair.connection.body() == [b"o"]
    with pytest.raises(ResponseCut):
        await pair.connection.body()


async def test_an_idle_connection_that_gets_a_byte_or_an_end_is_closed_at_once(pair):
    await pair.exchange()
    pair.replica.sendall(b"?")
    await eventually(lambda: pair.connection.closed and pair.ended, within=5)


async def test_a_second_response_to_one_request_is_not_anybodys_and_the_connection_is_not_used_again(pair):
    pair.send()
    pair.replica.sendall(ANSWER + ANSWER.replace(b"200 OK", b"500 No"))
    assert (await pair.connection.head()).status == 200
    assert await pair.connection.body() == [b"ok"]
    assert await pair.connection.body() == []
    assert not pair.connection.finish()


async def test_a_head_in_any_number_of_pieces_is_the_same_head(pair):
    pair.send()
    response = b"HTTP/1.1 200 Quite Fine\r\nX-Empty:\r\nX-A: b c\r\nContent-Length: 2\r\n\r\nok"
    for at in range(len(response)):
        pair.replica.sendall(response[at : at + 1])
        await asyncio.sleep(0)
    head = await pair.connection.head()
    assert (head.status, head.reason, head.length) == (200, b"Quite Fine", 2)
    assert head.headers == [(b"X-Empty", b""), (b"X-A", b"b c"), (b"Content-Length", b"2")]
