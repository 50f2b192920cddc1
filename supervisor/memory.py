"""How much memory there is: what the machine has, or what a control group leaves of it; and what a process has.

Owns reading that, and nothing that follows from it. Version 2 of control groups only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")

STIRRED = 2**20
"""Bytes of pages that a process has to touch until its private memory is worth another look."""

KNOWN_FOR = 300.0

_PAGE = os.sysconf("SC_PAGE_SIZE")


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


@dataclass(frozen=True, slots=True)
class Stir:
    """What tells at a glance whether a process has touched memory: its resident pages, and the faults that gave it any.

    A page that it writes to and until then shared is a fault as well, which its size does not show.
    """

    resident: int
    faults: int

    @classmethod
    def of(cls, pid: int) -> Stir | None:
        """None when it is gone."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return cls(resident=int(fields[21]), faults=int(fields[7]))  # proc_pid_stat(5), from the third field on

    def settled_since(self, before: Stir) -> bool:
        """Whether too little has happened for another look."""
        return max(abs(self.resident - before.resident), abs(self.faults - before.faults)) < STIRRED // _PAGE


class PrivateMemory:
    """Private memory of processes, looked at again only when it can have changed: the kernel walks every page for it.

    `known_for` in seconds: what others do, who shared a page and have gone, changes it unseen.
    """

    def __init__(
        self,
        *,
        look: Callable[[int], int | None] = private,
        stir: Callable[[int], Stir | None] = Stir.of,
        known_for: float = KNOWN_FOR,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._stir = stir
        self._known_for = known_for
        self._clock = clock
        self._known: dict[int, tuple[int | None, Stir, float]] = {}

    def __call__(self, pid: int) -> int | None:
        """Bytes; None when it is gone or may not be looked at."""
        stir, now = self._stir(pid), self._clock()
        known = self._known.pop(pid, None)
        if stir is None:
            return None
        if known is None or now - known[2] >= self._known_for or not stir.settled_since(known[1]):
            known = (self._look(pid), stir, now)
            self._known = {other: each for other, each in self._known.items() if now - each[2] < self._known_for}
        self._known[pid] = known
        return known[0]


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
