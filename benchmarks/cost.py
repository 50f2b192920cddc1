"""What running processes cost: processor time and memory, as the kernel counts them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import psutil


def processor_seconds(pid: int) -> float:
    """That the threads of this process have used since it began; to the nanosecond where the kernel tells.

    The threads that ended meanwhile are not in it: nothing that is measured here ends threads while it is measured.
    """
    try:
        tasks = [each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    except (FileNotFoundError, ProcessLookupError):
        tasks = []
    if tasks:
        return sum(int(text.split()[0]) for text in tasks) / 1e9
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


def pss(pids: Iterable[int]) -> float:
    """MB of these processes together; one that has just ended counts nothing."""
    total = 0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            total += psutil.Process(pid).memory_full_info().pss
    return total / 1e6
