"""Looks for bytes that the front or the connection to a replica gets wrong.

    python -m tests.http.fuzz --minutes 60

Four checks, in turns, each with a seed of its own, which is printed: the guard against two other readings of the same
bytes (`reference`, and h11), the whole front over real sockets, the reader of answers against h11, and answers over
real sockets. A failure is made small by Hypothesis, printed, and ends the run with exit code 1; `--seed N --check NAME`
shows it again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h11
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from supervisor.balancer.grammar import Limits
from supervisor.balancer.guard import Guard
from supervisor.balancer.headers import request_head, request_opening
from supervisor.balancer.message import Message as Incoming
from supervisor.balancer.response import ResponseReader
from supervisor.balancer.response_head import BadResponse
from tests.eventually import eventually
from tests.http import reference
from tests.http.bench import Recorder, answer_200, final, recording, write
from tests.http.corpus.case import BODY_LIMIT, HEAD_LIMIT, TARGET_LIMIT, Seen
from tests.http.streams import ANSWERS, STREAMS, cuts
from tests.wire import Bench, Message

LIMITS = Limits(head=HEAD_LIMIT, target=TARGET_LIMIT, body=BODY_LIMIT)
WITHIN = 20.0
DEADLINE = 0.3  # seconds, of the balancer under test
"""Seconds after which something is taken to hang."""


def read(stream: bytes, *, declined: bool = False) -> reference.Reading:
    return reference.read(
        stream, head_limit=HEAD_LIMIT, target_limit=TARGET_LIMIT, body_limit=BODY_LIMIT, declined=declined
    )


# The guard.


def check_guard(stream: bytes, pieces: list[bytes]) -> None:
    """Once, and once more behind itself: a head that a connection has had before is known again."""
    _check_guard(stream, pieces)
    _check_guard(stream * 2, pieces * 2)


def _check_guard(stream: bytes, pieces: list[bytes]) -> None:
    messages, bodies = _fed(pieces)
    said = [message.refusal for message in messages]
    whole, whole_bodies = _fed([stream])
    assert [message.refusal for message in whole] == said
    assert whole_bodies == bodies

    reading = read(stream)
    good = len(said) if not said or said[-1] is None else len(said) - 1
    if reading.refused:
        assert said, "nothing was refused"
        assert said[-1] is not None, "a bad message was passed on"
        assert good == len(reading.requests)
    elif reading.complete:
        assert said == [None] * len(reading.requests)
    else:
        assert good - len(reading.requests) in {0, 1}
    for message, body, request in zip(messages, bodies, reading.requests, strict=False):
        assert message.complete
        assert h11_request(_for_a_replica(message, body)) == (request.method, request.target, request.body)


def _fed(pieces: list[bytes]) -> tuple[list[Incoming], list[bytes]]:
    """The messages, and what came of their bodies."""
    guard = Guard(LIMITS)
    messages = [message for piece in pieces for message in guard.feed(piece)]
    return messages, [message.read() for message in messages]


def _for_a_replica(message: Incoming, body: bytes) -> bytes:
    """The request as it is passed on."""
    head = message.head
    assert head is not None
    opening = request_opening(
        head.line.method, head.line.target, head.sent, client="", chunked=head.chunked, identified=True
    )
    if head.chunked:
        body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    return request_head(opening, length=message.length if head.announced else None) + body


def h11_request(data: bytes) -> tuple[bytes, bytes, bytes]:
    """The one request that h11 finds there, and nothing behind it."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1_000_000)
    connection.receive_data(data)
    request = connection.next_event()
    assert isinstance(request, h11.Request), request
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage), event
    assert connection.trailing_data == (b"", False)
    return request.method, request.target, body


# The front, over sockets.


async def check_front(b: Bench, recorder: Recorder, stream: bytes, pieces: list[bytes]) -> None:
    reading = read(stream, declined=True)
    requests, refused = reading.requests, reading.refused
    recorder.answer = answer_200
    recorder.seen.clear()
    recorder.partial.clear()
    client = await b.connect()
    writing = asyncio.create_task(write(client, pieces))
    expected: list[reference.Request] = []
    try:
        async with asyncio.timeout(WITHIN):
            for request in requests:
                answer = await final(client.reader, bodiless=request.method == b"HEAD")
                assert answer.status in {200, 401, 403}, answer
                if answer.status == 200:
                    expected.append(request)
                elif answer.all("connection") == ["close"]:
                    break  # it expected a 100, and will not get one
            else:
                if refused:
                    answer = await final(client.reader, bodiless=True)
                    assert answer.status >= 400
                    # Whom it lets in is said as soon as the head is there: what is wrong behind it then has no answer.
                    assert answer.status in {401, 403} or answer.one("connection") == "close"
                    with contextlib.suppress(ConnectionError):
                        rest = await client.reader.read()
                        assert len(rest) in {0, int(answer.one("content-length"))}  # 0: it was a HEAD
    except asyncio.IncompleteReadError as cut:
        raise AssertionError(f"the connection ended without an answer: {cut.partial!r}") from cut
    finally:
        await writing
        client.leave()
        b.clients.clear()
    await eventually(lambda: b.rotation.in_flight == 0, within=WITHIN, every=0.001)
    assert [(*_start(seen), seen.body) for seen in recorder.seen] == [
        (request.method, request.target, request.body) for request in expected
    ]
    for seen in recorder.seen:
        lowered = seen.head.lower()
        assert not any(b"\r\n" + name + b":" in lowered for name in (b"keep-alive", b"te", b"trailer", b"expect"))
    if not refused and reading.complete:
        assert recorder.partial == []


def _start(seen: Seen) -> tuple[bytes, bytes]:
    method, target, _ = seen.head.partition(b"\r\n")[0].split(b" ")
    return method, target


# Answers.


def check_answer(answer: bytes, pieces: list[bytes]) -> None:
    first, second = (_read_answer(split) for split in (pieces, [answer] if answer else []))
    assert first == second
    status, body, complete, _ = first
    if complete and status is not None:
        assert (status, body) == h11_answer(answer), "h11 reads another answer"


def _read_answer(pieces: list[bytes]) -> tuple[int | None, bytes, bool, bool]:
    """Status, body, whether it is complete, and whether it is bad."""
    reader = ResponseReader()
    bad = False
    try:
        for piece in pieces:
            reader.feed(piece)
        reader.end()
    except BadResponse:
        bad = True
    status = None if reader.head is None else reader.head.status
    # What of a bad answer's body was handed out depends on the split, and ends as a cut in any case.
    return status, b"" if bad else b"".join(reader.pieces), reader.complete, bad


# RFC 9112, section 7.1.1, has recipients read past this; h11 refuses it. What is hidden there goes nowhere.
_SPACE_BEFORE_EXTENSION = re.compile(rb"(?<=\r\n)([0-9A-Fa-f]++)[\t ]++(?=;)")


def h11_answer(answer: bytes) -> tuple[int, bytes]:
    try:
        return _h11_answer(answer)
    except h11.RemoteProtocolError as refused:
        if "illegal chunk header" not in str(refused):
            raise
        return _h11_answer(_SPACE_BEFORE_EXTENSION.sub(rb"\1", answer))


def _h11_answer(answer: bytes) -> tuple[int, bytes]:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1_000_000)
    connection.send(h11.Request(method="POST", target="/", headers=[("host", "h"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(answer)
    connection.receive_data(b"")
    head: h11.Response | None = None
    body = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            assert isinstance(event, h11.InformationalResponse), event
    assert head is not None
    return head.status_code, body


async def check_replica(b: Bench, recorder: Recorder, answer: bytes, pieces: list[bytes], *, closes: bool) -> None:
    """The client gets a whole answer, an error of ours or a visible cut; the next request gets its own answer."""

    async def misbehave(writer: asyncio.StreamWriter, seen: Seen) -> None:
        if b"/own" in seen.head:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nits own")
            return
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        if closes:
            writer.close()

    recorder.answer = misbehave
    client = await b.connect()
    try:
        async with asyncio.timeout(WITHIN):
            await client.send("POST", "/key/generate", {"Authorization": "Bearer sk-1"}, b"{}")
            try:
                got = await final(client.reader)
            except (asyncio.IncompleteReadError, ConnectionError):
                await _is_its_own(b)
                return  # a cut
            if got.all("x-litesup-replica"):
                assert (got.status, got.body) == h11_answer(answer)
            else:
                assert got.status in {502, 504}
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                began = time.monotonic()
                await client.send("GET", "/v1/own", {"Authorization": "Bearer sk-1"})
                _check_own(await final(client.reader), began)
            await _is_its_own(b)
    finally:
        client.leave()
        b.clients.clear()
    await eventually(lambda: b.rotation.in_flight == 0, within=WITHIN, every=0.001)


async def _is_its_own(b: Bench) -> None:
    began = time.monotonic()
    _check_own(await b.ask("GET", "/v1/own", {"Authorization": "Bearer sk-1"}), began)


def _check_own(answer: Message, began: float) -> None:
    """On a machine that is too busy for DEADLINE, the answer may be that it has passed; but then it has."""
    if answer.status in {503, 504} and not answer.all("x-litesup-replica"):
        assert time.monotonic() - began >= DEADLINE, f"not its own, and at once: {answer}"
    else:
        assert answer.body == b"its own", answer


# Running them.


class Run:
    """A balancer that lives as long as the run, and the checks as functions of a seed and a number of examples."""

    def __init__(self, runner: asyncio.Runner, b: Bench, recorder: Recorder) -> None:
        self._runner = runner
        self._bench = b
        self._recorder = recorder
        self.checks: dict[str, Callable[[st.DataObject], None]] = {
            "guard": self._guard,
            "front": self._front,
            "answer": self._answer,
            "replica": self._replica,
        }

    def examples(self, name: str, number: int, count: int) -> None:
        """Raises what the check raised, for the smallest example."""
        every = settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        seed(number)(every(given(data=st.data())(self.checks[name])))()

    def _guard(self, data: st.DataObject) -> None:
        stream = data.draw(STREAMS)
        check_guard(stream, cuts(data, stream))

    def _front(self, data: st.DataObject) -> None:
        stream = data.draw(STREAMS)
        pieces = cuts(data, stream)
        self._runner.run(check_front(self._bench, self._recorder, stream, pieces))

    def _answer(self, data: st.DataObject) -> None:
        answer = data.draw(ANSWERS)
        check_answer(answer, cuts(data, answer))

    def _replica(self, data: st.DataObject) -> None:
        answer = data.draw(ANSWERS)
        pieces = cuts(data, answer)
        closes = data.draw(st.booleans())
        self._runner.run(check_replica(self._bench, self._recorder, answer, pieces, closes=closes))


@contextlib.contextmanager
def running() -> Iterator[Run]:
    """What is logged, or raised where nobody catches it, is a failure too: at the latest when this ends."""
    with tempfile.TemporaryDirectory(prefix="ls-", dir="/tmp") as directory, asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        entered = stack.enter_async_context(
            recording(Path(directory), balancer={"response_timeout": DEADLINE}, queue={"timeout": DEADLINE})
        )
        b, recorder = runner.run(entered)
        try:
            yield Run(runner, b, recorder)
        finally:
            runner.run(stack.aclose())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.http.fuzz", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="how long it runs (1)")
    parser.add_argument("--seed", type=int, help="begin with this seed instead of a random one")
    parser.add_argument("--check", choices=("guard", "front", "answer", "replica"), help="only this one")
    parser.add_argument("--examples", type=int, default=200, help="examples for each seed (200)")
    arguments = parser.parse_args()
    number = arguments.seed if arguments.seed is not None else random.randrange(2**32)
    end = time.monotonic() + 60 * arguments.minutes
    rounds = 0
    try:
        with running() as run:
            names = [arguments.check] if arguments.check else list(run.checks)
            while time.monotonic() < end:
                for name in names:
                    print(f"{name}: seed {number}", flush=True)
                    run.examples(name, number, arguments.examples)
                rounds += 1
                number += 1
    except Exception:
        print(f"FAILED with seed {number}", flush=True)
        raise
    print(f"nothing found in {rounds} rounds of {arguments.examples} examples for each of {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
