"""How much memory is left, read from files as the kernel writes them."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from supervisor import memory


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
