from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from supervisor.observe.sink import MOST_CHARACTERS, Sink


class Pipe:
    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def read_all(self) -> list[str]:
        data = b""
        while chunk := os.read(self.reading, 65536):
            data += chunk
        return data.decode().splitlines()

    def read_some(self) -> bytes:
        """What is there, as soon as something is."""
        assert select.select([self.reading], [], [], 30.0)[0], "nothing was written"
        return os.read(self.reading, 65536)

    def fill(self) -> None:
        """Until not one byte more goes in: whoever writes now, waits."""
        os.set_blocking(self.writing, False)
        for size in (65536, 1):
            with suppress(BlockingIOError):
                while True:
                    os.write(self.writing, b"\n" * size)
        os.set_blocking(self.writing, True)

    def close(self) -> None:
        for descriptor in (self.reading, self.writing):
            with suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with closing(Pipe()) as pipe:
        yield pipe


def notice(count: int) -> str:
    return f"dropped {count}"


def test_lines_arrive_in_order_and_all_of_them_by_the_end(pipe: Pipe) -> None:
    sink = Sink(pipe.writing, limit=100_000, notice=notice)
    reader: list[str] = []
    thread = threading.Thread(target=lambda: reader.extend(pipe.read_all()))
    thread.start()
    for number in range(20_000):
        sink.write(f"line {number}")
    sink.close(30.0)
    os.close(pipe.writing)
    thread.join(30.0)
    assert reader == [f"line {number}" for number in range(20_000)]
    assert sink.dropped == 0


FOR_EVER = 3600.0  # seconds that a line in no hurry would wait for others


def test_lines_in_no_hurry_go_with_the_next_one_that_is(pipe: Pipe) -> None:
    sink = Sink(pipe.writing, limit=100, notice=notice, linger=FOR_EVER)
    for line in ("one", "two"):
        sink.write(line, soon=False)
    assert not select.select([pipe.reading], [], [], 0.05)[0]
    sink.write("three")
    assert pipe.read_some() == b"one\ntwo\nthree\n"
    sink.write("four", soon=False)
    sink.close(30.0)
    assert pipe.read_some() == b"four\n"


def test_a_line_in_no_hurry_that_stays_alone_is_written_all_the_same(pipe: Pipe) -> None:
    sink = Sink(pipe.writing, limit=100, notice=notice, linger=0.01)
    for _ in range(3):
        sink.write("alone", soon=False)
        assert pipe.read_some() == b"alone\n"
    sink.close(30.0)


def test_none_is_lost_because_all_wait_for_others(pipe: Pipe) -> None:
    sink = Sink(pipe.writing, limit=4, notice=notice, linger=FOR_EVER)
    for number in range(0, 20, 2):
        sink.write(f"{number}", soon=False)
        sink.write(f"{number + 1}", soon=False)
        assert sink.flush(30.0)
    assert pipe.read_some().split() == [str(number).encode() for number in range(20)]
    for line in ("one", "two"):  # half of what there is room for
        sink.write(line, soon=False)
    assert pipe.read_some() == b"one\ntwo\n"
    assert sink.dropped == 0
    sink.close(30.0)


def test_a_reader_that_reads_nothing_costs_the_oldest_lines_and_never_time(pipe: Pipe) -> None:
    pipe.fill()
    sink = Sink(pipe.writing, limit=10, notice=notice)
    for number in range(5_000):
        sink.write(f"{number} {'x' * 100}")
    assert sink.dropped > 0
    assert not sink.flush(0.05)
    lines: list[str] = []
    thread = threading.Thread(target=lambda: lines.extend(pipe.read_all()))
    thread.start()
    assert sink.flush(30.0)
    sink.write("and on")
    sink.close(30.0)
    os.close(pipe.writing)
    thread.join(30.0)
    lines = [line for line in lines if line]
    told = sum(int(line.split()[1]) for line in lines if line.startswith("dropped"))
    assert told == sink.dropped
    assert len(lines) - sum(line.startswith("dropped") for line in lines) == 5_001 - sink.dropped
    assert lines[-1] == "and on"


def test_of_very_long_lines_fewer_wait(pipe: Pipe) -> None:
    """10,000 lines of 64 KiB would be 640 MiB."""
    pipe.fill()
    sink = Sink(pipe.writing, limit=10_000, notice=notice)
    for _ in range(50):
        sink.write("x" * (MOST_CHARACTERS // 10))
    assert 50 - 10 - 1 <= sink.dropped <= 50 - 10  # one may be on its way into the pipe
    sink.close(0.0)


def test_that_fewer_may_wait_holds_for_those_that_do(pipe: Pipe) -> None:
    pipe.fill()
    sink = Sink(pipe.writing, limit=100, notice=notice)
    sink.write("on its way into the pipe")
    assert not sink.flush(0.05)
    for number in range(50):
        sink.write(str(number))
    sink.hold(8)
    assert sink.dropped == 50 - 8
    sink.close(0.0)


def test_a_reader_that_left_is_no_error(pipe: Pipe) -> None:
    sink = Sink(pipe.writing, limit=10, notice=notice)
    os.close(pipe.reading)
    for _ in range(100):
        sink.write("lost")
    sink.close(30.0)
    assert sink.dropped == 100


def test_a_descriptor_that_somebody_made_non_blocking_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe.writing, False)
    sink = Sink(pipe.writing, limit=100_000, notice=notice)
    for number in range(3_000):
        sink.write(f"{number} {'x' * 100}")
    lines: list[str] = []
    thread = threading.Thread(target=lambda: lines.extend(pipe.read_all()))
    thread.start()
    sink.close(30.0)
    os.close(pipe.writing)
    thread.join(30.0)
    assert len(lines) == 3_000


def test_the_end_does_not_wait_longer_than_it_may(pipe: Pipe) -> None:
    pipe.fill()
    sink = Sink(pipe.writing, limit=10_000, notice=notice)
    sink.write("never read")
    sink.close(0.05)
    assert sink._thread.daemon
