"""Memory that is free again is the system's again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from supervisor.allocator import GiveBack
from supervisor.large_blocks import LARGE
from supervisor.memory import Stir

LARGE_BLOCKS = """\
import os
import sys

import psutil
from supervisor.large_blocks import LARGE, give_back_large_blocks

if sys.argv[1] == "set" and not give_back_large_blocks():
    sys.exit(77)
large = bytearray(9 * LARGE)
del large
uss = psutil.Process().memory_full_info().uss
# Each block is followed by a small one that stays: on a heap that keeps what lies below.
blocks = [(bytearray(3 * LARGE), bytes(2000)) for _ in range(20)]
small = [each for _, each in blocks]
for block, _ in blocks:
    block[:] = bytes(1)
del blocks
print(psutil.Process().memory_full_info().uss - uss)
"""


def more_memory(program: str, argument: str) -> int:
    """Bytes that a process has at its end, more than at its beginning."""
    done = subprocess.run([sys.executable, "-c", program, argument], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this C library has no such setting")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_long_bodies_leave_nothing_behind_when_they_are_freed():
    assert more_memory(LARGE_BLOCKS, "set") < 10 * LARGE


HEAP = """\
import ctypes
import sys

import psutil
from supervisor.allocator import GiveBack
from supervisor.large_blocks import give_back_large_blocks

if not give_back_large_blocks() or getattr(ctypes.CDLL(None), "malloc_trim", None) is None:
    sys.exit(77)
give_back = GiveBack()
uss = psutil.Process().memory_full_info().uss
# A body as it comes from the network, in pieces below the threshold, and behind each of them something that stays.
pieces = [(bytearray(200_000), bytes(2000)) for _ in range(200)]
small = [each for _, each in pieces]
del pieces
if sys.argv[1] == "look":
    give_back.look()
print(psutil.Process().memory_full_info().uss - uss)
"""


def test_what_is_free_between_what_stays_goes_back_at_the_next_look():
    assert more_memory(HEAP, "wait") > 20 * LARGE, "it goes back by itself, and nobody need look"
    assert more_memory(HEAP, "look") < 5 * LARGE


def test_a_process_that_has_touched_no_memory_since_is_left_alone():
    given: list[None] = []
    seen = Stir(resident=10_000, faults=50_000)
    give_back = GiveBack(give=lambda: given.append(None), stir=lambda _: seen)
    for _ in range(3):
        give_back.look()
    assert len(given) == 1
    seen = Stir(resident=10_000, faults=50_100)  # less than is worth it
    give_back.look()
    assert len(given) == 1
    seen = Stir(resident=10_000, faults=50_300)
    give_back.look()
    give_back.look()
    assert len(given) == 2
