"""How much memory there is: what the machine has, or what a control group allows or leaves of it.

Owns reading that, and nothing that follows from it. Version 2 of control groups only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def available(cgroups: Path = CGROUPS, own: Path = OWN) -> int:
    """Bytes. What a control group holds only as a cache of files counts as left, as it does for the machine."""
    return min((psutil.virtual_memory().available, *_left_by_groups(cgroups, own)))


def limit(cgroups: Path = CGROUPS, own: Path = OWN) -> int | None:
    """Bytes that the control groups allow all their processes together; None where none has a limit."""
    limits = (_number(directory / "memory.max") for directory in _groups(cgroups, own))
    return min((each for each in limits if each is not None), default=None)


def private(pid: int) -> int | None:
    """Bytes that this process shares with no other (USS); None when it is gone or may not be looked at."""
    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except (psutil.Error, OSError):
        return None


def _left_by_groups(cgroups: Path, own: Path) -> Iterator[int]:
    """What each control group leaves, where it has a limit."""
    for directory in _groups(cgroups, own):
        most, used = _number(directory / "memory.max"), _number(directory / "memory.current")
        if most is not None and used is not None:
            yield max(0, most - used + _cached(directory / "memory.stat"))


def _groups(cgroups: Path, own: Path) -> Iterator[Path]:
    """From the own control group upwards."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    group = next((line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::")), None)
    if group is None or ".." in Path(group).parts:
        return
    for directory in ((cgroups / group), *(cgroups / group).parents):
        if not directory.is_relative_to(cgroups):
            return
        yield directory


def _number(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _cached(file: Path) -> int:
    try:
        rows = (line.split() for line in file.read_text(encoding="ascii").splitlines())
        return next((int(row[1]) for row in rows if row[0] == "inactive_file"), 0)
    except (OSError, ValueError, IndexError):
        return 0
