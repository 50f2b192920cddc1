"""The connection to a replica, over a pair of sockets: what was sent is a fact."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from supervisor.balancer.upstream import READ_AHEAD, Connection, ResponseTimeout
from supervisor.errors import NotSent, ReplicaGivenUp, ReplicaLost, ResponseCut
from tests.eventually import eventually

REQUEST = b"GET / HTTP/1.1\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Pair:
    connection: Connection
    replica: socket.socket
    ended: list[Connection]
    taken: list[bytes] = field(default_factory=list)
    calls: int = 0
    greedy: bool = True

    def send(self) -> None:
        self.connection.send(REQUEST, head_only=False, timeout=5)

    async def body(self) -> bytes:
        """What comes until the response is complete."""
        self.taken.clear()
        assert await self.connection.pour(self.take)
        return b"".join(self.taken)

    def take(self, pieces: list[bytes]) -> bool:
        self.calls += 1
        self.taken += pieces
        return self.greedy

    async def exchange(self) -> None:
        self.send()
        self.replica.sendall(ANSWER)
        assert (await self.connection.head()).status == 200
        assert await self.body() == b"ok"
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


@pytest.mark.parametrize("came", [ANSWER[:10], ANSWER[:-3], ANSWER[:-2]], ids=["status", "head", "whole head"])
async def test_an_end_before_there_was_anything_to_pass_on_is_a_lost_replica(pair, came):
    pair.send()
    pair.replica.sendall(came)
    pair.replica.close()
    with pytest.raises(ReplicaLost):
        await pair.connection.head()


async def test_the_head_of_a_stream_is_handed_out_before_its_first_chunk(pair):
    pair.send()
    pair.replica.sendall(CHUNKED)
    assert (await pair.connection.head()).chunked
    pair.replica.close()
    with pytest.raises(ResponseCut):
        await pair.connection.pour(pair.take)


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
    pair.connection.active_at -= 10  # longer than it waits
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
    pair.connection.active_at -= 10  # longer than it waits
    pair.replica.sendall(ANSWER)
    pair.connection._check_silence()
    assert (await pair.connection.head()).status == 200
    assert await pair.body() == b"ok"
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
    with pytest.raises(ResponseCut):
        await pair.connection.pour(pair.take)
    assert pair.taken == [b"o"]


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def begun(pair: Pair) -> asyncio.Task[bool]:
    """A chunked response of which the head has come, and somebody who takes its body."""
    pair.send()
    pair.replica.sendall(CHUNKED)
    await pair.connection.head()
    pouring = asyncio.create_task(pair.connection.pour(pair.take))
    await asyncio.sleep(0)
    return pouring


async def test_a_piece_is_handed_out_in_the_turn_in_which_it_comes(pair):
    pouring = await begun(pair)
    pair.connection.data_received(b"2\r\nab\r\n")
    assert pair.taken == [b"ab"]
    pair.connection.data_received(b"1\r\nc\r\n1\r\nd\r\n2\r\ne")
    assert pair.taken == [b"ab", b"c", b"d", b"e"]
    pair.connection.data_received(b"f\r\n0\r\n\r\n")
    assert pair.connection.complete
    assert await pouring
    assert pair.taken == [b"ab", b"c", b"d", b"e", b"f"]


async def test_the_end_is_handed_out_once_also_where_it_comes_alone(pair):
    pouring = await begun(pair)
    pair.connection.data_received(b"1\r\na\r\n")
    assert pair.calls == 1
    pair.connection.data_received(b"0\r\n\r\n")
    assert await pouring
    assert (pair.calls, pair.taken) == (2, [b"a"])


async def test_who_wants_no_more_gets_the_rest_when_it_asks_again(pair):
    pouring = await begun(pair)
    pair.greedy = False
    pair.connection.data_received(b"1\r\na\r\n")
    pair.connection.data_received(b"1\r\nb\r\n")
    pair.connection.data_received(b"0\r\n\r\n")
    assert not await pouring
    assert pair.taken == [b"a"]
    assert not pair.connection.complete
    pair.greedy = True
    assert await pair.connection.pour(pair.take)
    assert pair.taken == [b"a", b"b"]


async def test_who_takes_nothing_makes_the_replica_wait(pair):
    pouring = await begun(pair)
    pair.greedy = False
    pair.connection.data_received(b"1\r\na\r\n")
    assert not await pouring
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    for _ in range(1 + READ_AHEAD // len(piece)):
        assert pair.connection._transport.is_reading()
        pair.connection.data_received(piece)
    assert not pair.connection._transport.is_reading()
    assert pair.connection.arrived()
    assert pair.connection._transport.is_reading()


async def test_what_came_before_a_cut_is_handed_out_while_somebody_waits(pair):
    pouring = await begun(pair)
    pair.connection.data_received(b"2\r\nab\r\nno size")
    assert pair.taken == [b"ab"]
    with pytest.raises(ResponseCut):
        await pouring


async def test_a_connection_that_is_idle_is_not_silent_and_the_next_exchange_has_all_its_time(pair):
    await pair.exchange()
    pair.connection.active_at -= 10  # longer than an exchange may be silent
    pair.connection._check_silence()
    assert not pair.connection.closed
    await pair.exchange()
    assert pair.connection._timer is not None


async def test_an_idle_connection_that_gets_a_byte_or_an_end_is_closed_at_once(pair):
    await pair.exchange()
    pair.replica.sendall(b"?")
    await eventually(lambda: pair.connection.closed and pair.ended, within=5)


async def test_a_second_response_to_one_request_is_not_anybodys_and_the_connection_is_not_used_again(pair):
    pair.send()
    pair.replica.sendall(ANSWER + ANSWER.replace(b"200 OK", b"500 No"))
    assert (await pair.connection.head()).status == 200
    assert await pair.body() == b"ok"
    assert not pair.connection.finish()


async def test_a_head_in_any_number_of_pieces_is_the_same_head(pair):
    pair.send()
    response = b"HTTP/1.1 200 Quite Fine\r\nX-Empty:\r\nX-A: b c\r\nContent-Length: 2\r\n\r\nok"
    for at in range(len(response)):
        pair.replica.sendall(response[at : at + 1])
        await asyncio.sleep(0)
    head = await pair.connection.head()
    assert (head.status, head.reason, head.length) == (200, b"Quite Fine", 2)
    assert head.fields == b"\r\nX-Empty:\r\nX-A: b c\r\nContent-Length: 2"
