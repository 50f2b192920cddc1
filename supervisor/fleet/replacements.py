"""Replicas that are to be exchanged for new ones of the same generation, and who waits until that is done.

The pool's own record, changed by the pool alone and without ever waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from supervisor.fleet.mailbox import refuse
from supervisor.fleet.member import Member
from supervisor.fleet.messages import Recycle, Replace
from supervisor.policy.lifecycle import LIVE


@dataclass(frozen=True, slots=True)
class Wish:
    """These replicas are to go, and these slots to serve again."""

    done: asyncio.Future[tuple[int, ...]] | None  # who waits to hear, if anybody
    slots: tuple[int, ...]
    replicas: frozenset[int]


class Replacements:
    def __init__(self) -> None:
        self._wishes: list[Wish] = []
        self._replicas: set[int] = set()
        self._first_gone: dict[int, int] = {}

    @property
    def replicas(self) -> frozenset[int]:
        """What the planner is to replace."""
        return frozenset(self._replicas)

    @property
    def pending(self) -> bool:
        """Whether something waits to be exchanged."""
        return bool(self._wishes)

    @property
    def held(self) -> frozenset[int]:
        """Slots that stay empty until their replica has ended, because there is no memory for two."""
        return frozenset(self._first_gone.values())

    def replace(self, message: Replace, members: Sequence[Member], count: int) -> None:
        """Takes note of what the operator wants exchanged."""
        slots = message.slots or tuple(range(1, count + 1))
        unknown = sorted(slot for slot in slots if not 1 <= slot <= count)
        if unknown:
            refuse(message.done, f"there is no slot {unknown[0]}; slots are 1 to {count}")
            return
        self._add(message.done, tuple(sorted(slots)), (m for m in members if m.slot in slots and m.state in LIVE))

    def recycle(self, message: Recycle, member: Member) -> None:
        """Takes note of a replica that is worn out; nobody waits to hear."""
        self._add(None, (member.slot,), (member,))
        if not message.surge:
            self._first_gone[member.replica] = member.slot

    def _add(
        self, done: asyncio.Future[tuple[int, ...]] | None, slots: tuple[int, ...], members: Iterable[Member]
    ) -> None:
        wish = Wish(done, slots, frozenset(member.replica for member in members))
        self._wishes.append(wish)
        self._replicas |= wish.replicas

    def exited(self, replica: int) -> None:
        self._replicas.discard(replica)
        self._first_gone.pop(replica, None)

    def tell(self, members: Collection[Member], count: int) -> None:
        """Tells those whose wish has come true. `count` slots are wanted."""
        if not self._wishes:
            return
        live = {member.replica for member in members if member.state in LIVE}
        serving = {member.slot for member in members if member.serving}
        for wish in tuple(self._wishes):
            if not wish.replicas & live and serving >= {slot for slot in wish.slots if slot <= count}:
                self._wishes.remove(wish)
                if wish.done is not None and not wish.done.done():
                    wish.done.set_result(wish.slots)

    def waiting(self) -> list[asyncio.Future[tuple[int, ...]]]:
        """Those who still wait to hear."""
        return [wish.done for wish in self._wishes if wish.done is not None]
