"""Memory that is free again is the system's again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from supervisor.allocator import LARGE

CHILD = """\
import os
import sys

import psutil
from supervisor.allocator import LARGE, give_back_large_blocks

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


def kept(setting: str) -> int:
    """Bytes that a process still has of sixty MiB that it has freed, a longer block having been freed before."""
    done = subprocess.run([sys.executable, "-c", CHILD, setting], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this C library has no such setting")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_long_bodies_leave_nothing_behind_when_they_are_freed():
    assert kept("set") < 10 * LARGE
