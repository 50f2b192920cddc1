"""Replicas that are to be exchanged for new ones of the same generation, and who waits until that is done.

The pool's own record, changed by the pool alone and without ever waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set as AbstractSet
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wish:
    """These replicas are to go, and these slots to serve again."""

    done: asyncio.Future[tuple[int, ...]]
    slots: tuple[int, ...]
    replicas: frozenset[int]


class Replacements:
    def __init__(self) -> None:
        self._wishes: list[Wish] = []
        self._replicas: set[int] = set()

    @property
    def replicas(self) -> frozenset[int]:
        """What the planner is to replace."""
        return frozenset(self._replicas)

    def add(self, wish: Wish) -> None:
        self._wishes.append(wish)
        self._replicas |= wish.replicas

    def exited(self, replica: int) -> None:
        self._replicas.discard(replica)

    def tell(self, *, live: AbstractSet[int], serving: AbstractSet[int], count: int) -> None:
        """Tells those whose wish has come true. `live` are replicas, `serving` and `count` are about slots."""
        for wish in tuple(self._wishes):
            if not wish.replicas & live and serving >= {slot for slot in wish.slots if slot <= count}:
                self._wishes.remove(wish)
                if not wish.done.done():
                    wish.done.set_result(wish.slots)

    def waiting(self) -> list[asyncio.Future[tuple[int, ...]]]:
        """Those who still wait to hear."""
        return [wish.done for wish in self._wishes]
