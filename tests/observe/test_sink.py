from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from supervisor.observe.sink import Sink


class Pipe:
    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def read_all(self) -> list[str]:
        data = b""
        while chunk := os.read(self.reading, 65536):
            data += chunk
        return data.decode().splitlines()

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
