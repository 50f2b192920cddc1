"""How much memory is left, read from files as the kernel writes them."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import psutil
import pytest

from supervisor import memory
from supervisor.memory import Stir


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    (tmp_path / "own").write_text("1:name=old:/ignored\n0::/system.slice/litesup.service\n")
    (tmp_path / "cgroup/system.slice/litesup.service").mkdir(parents=True)
    return tmp_path


def limit(groups: Path, name: str, most: str, current: int, inactive_file: int = 0) -> None:
    folder = groups / "cgroup" / name
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 1\nfile 2\ninactive_file {inactive_file}\n")


def left(groups: Path) -> int:
    return memory.available(groups / "cgroup", groups / "own")


def test_a_limit_of_any_group_above_counts_too(groups: Path):
    limit(groups, "system.slice/litesup.service", "9000", 1000)
    assert left(groups) == 8000
    limit(groups, "system.slice", "4000", 3000)
    assert left(groups) == 1000


def test_what_is_only_a_cache_of_files_counts_as_left(groups: Path):
    limit(groups, "system.slice/litesup.service", "9000", 8500, inactive_file=500)
    assert left(groups) == 1000


def test_a_group_beyond_its_limit_leaves_nothing_and_not_less(groups: Path):
    limit(groups, "system.slice/litesup.service", "9000", 9500)
    assert left(groups) == 0


def test_without_a_limit_it_is_what_the_machine_has(groups: Path):
    limit(groups, "system.slice/litesup.service", "max", 1000)
    (groups / "other").write_text("")
    total = psutil.virtual_memory().total
    assert 0 < left(groups) <= total
    assert 0 < memory.available(groups / "cgroup", groups / "missing") <= total
    assert 0 < memory.available(groups / "cgroup", groups / "other") <= total


def test_private_memory_is_told_of_a_process_that_is_there():
    assert (memory.private(os.getpid()) or 0) > 2**20
    assert memory.private(2**22 + 1) is None


class Process:
    """One that grows when it is told to, and counts how often it was measured."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stir: Stir | None = Stir(resident=10_000, faults=50_000)
        self.size: int | None = 40 * 2**20
        self.looks = 0

    def look(self, pid: int) -> int | None:
        self.looks += 1
        return self.size

    def watched(self) -> memory.PrivateMemory:
        return memory.PrivateMemory(look=self.look, stir=lambda _pid: self.stir, clock=lambda: self.now)


def test_who_has_touched_no_memory_is_measured_once():
    process = Process()
    private = process.watched()
    for _ in range(10):
        process.now += 15.0
        assert private(1) == 40 * 2**20
    assert process.looks == 1


@pytest.mark.parametrize(
    "stir",
    [
        Stir(resident=10_000 + 256, faults=50_000),
        Stir(resident=10_000 - 256, faults=50_000),
        Stir(resident=10_000, faults=50_000 + 256),  # shared pages that it wrote to are its own now
    ],
)
def test_who_has_touched_a_mebibyte_is_measured_again(stir):
    process = Process()
    private = process.watched()
    private(1)
    process.stir, process.size = stir, 41 * 2**20
    assert private(1) == 41 * 2**20
    assert private(1) == 41 * 2**20
    assert process.looks == 2


def test_many_small_steps_are_one_large_one():
    process = Process()
    private = process.watched()
    private(1)
    for step in range(1, 4):
        process.stir, process.size = Stir(resident=10_000, faults=50_000 + 100 * step), (40 + step) * 2**20
        last = private(1)
    assert last == 43 * 2**20


def test_what_is_known_is_not_believed_for_ever():
    process = Process()
    private = process.watched()
    private(1)
    process.now, process.size = memory.KNOWN_FOR, 60 * 2**20
    assert private(1) == 60 * 2**20


def test_of_who_is_gone_nothing_is_known_any_more():
    process = Process()
    private = process.watched()
    private(1)
    process.stir = None
    assert private(1) is None
    process.stir, process.size = Stir(resident=10_000, faults=50_000), 7
    assert private(1) == 7


def test_what_is_known_of_those_whom_nobody_asks_for_any_more_is_forgotten():
    process = Process()
    private = process.watched()
    for pid in range(100):
        private(pid)
        process.now += memory.KNOWN_FOR / 10
    assert len(private._known) <= 10


def test_the_kernel_tells_when_memory_was_touched():
    before = Stir.of(os.getpid())
    assert before is not None
    assert before.resident * memory._PAGE == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    with mmap.mmap(-1, 8 * 2**20) as fresh:  # what malloc gives may be pages that the process has already
        for at in range(0, len(fresh), memory._PAGE):
            fresh[at] = 1
        after = Stir.of(os.getpid())
        assert after is not None
        assert not after.settled_since(before)
    assert Stir.of(2**22 + 1) is None


def test_a_forked_child_that_writes_to_what_it_shares_has_stirred_and_is_no_larger():
    shared = bytearray(os.urandom(1) * (16 * 2**20))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        before = Stir.of(os.getpid())
        for at in range(0, len(shared), memory._PAGE):
            shared[at] ^= 1
        after = Stir.of(os.getpid())
        ok = before is not None and after is not None and after.faults - before.faults > 256
        os.write(writer, b"1" if ok else b"0")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1) == b"1"
    os.close(reader)
    os.close(writer)
