"""The fleet as `status` tells it: values read off the pool and the rotation, nothing decided."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import psutil

from supervisor.fleet.member import Member
from supervisor.fleet.pool import Pool
from supervisor.policy.lifecycle import State
from supervisor.policy.restart import is_crash_looping
from supervisor.rotation import Rotation
from supervisor.status import ReplicaStatus


def replica_statuses(
    pool: Pool, rotation: Rotation, private_memory: Callable[[int], int | None], redact: Callable[[str], str]
) -> tuple[ReplicaStatus, ...]:
    """One entry per replica, and one per wanted slot that has none, in slot order.

    How a process ended may be told in its own words, so `redact` goes over that.
    """
    moment = time.time() - time.monotonic()
    entries = [_of_member(pool, rotation, member, moment, private_memory(member.replica)) for member in pool.members]
    filled = {member.slot for member in pool.members}
    entries += [_of_empty_slot(pool, slot) for slot in range(1, pool.count + 1) if slot not in filled]
    shown = (
        dataclasses.replace(entry, last_exit=None if entry.last_exit is None else redact(entry.last_exit))
        for entry in entries
    )
    return tuple(sorted(shown, key=lambda entry: (entry.slot, entry.replica)))


def _of_member(pool: Pool, rotation: Rotation, member: Member, moment: float, private: int | None) -> ReplicaStatus:
    upstream = rotation.get(member.replica)
    history = pool.slots.history(member.slot)
    return ReplicaStatus(
        slot=member.slot,
        replica=member.replica,
        pid=member.pid,
        state=member.state.value,
        generation=member.generation.digest,
        ready_since=None if member.ready_since is None else member.ready_since + moment,
        in_flight=0 if upstream is None else upstream.in_flight,
        rss_bytes=_rss(member.pid),
        private_bytes=private,
        restarts=history.restarts,
        last_exit=history.last_exit,
        note=_note(pool, member),
    )


def _of_empty_slot(pool: Pool, slot: int) -> ReplicaStatus:
    history = pool.slots.history(slot)
    wanted = pool.wanted
    looping = "crash-looping: " if is_crash_looping(pool.slots.record(slot)) else ""
    return ReplicaStatus(
        slot=slot,
        replica=0,
        pid=None,
        state=State.EXITED.value,
        generation="" if wanted is None else wanted.digest,
        ready_since=None,
        in_flight=0,
        rss_bytes=None,
        private_bytes=None,
        restarts=history.restarts,
        last_exit=history.last_exit,
        note=f"{looping}next try in {pool.next_try(slot):.0f} s",
    )


def _note(pool: Pool, member: Member) -> str:
    if member.killed:
        return f"killed: {member.killed}"
    if member.leaving:
        return f"{member.state.value}: {member.leaving}"
    if member.state is State.SUSPECT:
        return f"suspect: {member.vitals.misses} probes in a row without an answer"
    if member.state is not State.READY and is_crash_looping(pool.slots.record(member.slot)):
        return f"crash-looping: try {pool.slots.record(member.slot).failures + 1}"
    return ""


def _rss(pid: int | None) -> int | None:
    if pid is None:
        return None
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None
