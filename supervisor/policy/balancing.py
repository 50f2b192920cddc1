"""Which of several equally good replicas gets the next request. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a choice may depend on."""

    slot: int
    replica: int
    in_flight: int


Choose = Callable[[Sequence[Candidate], int], tuple[int, int]]
"""From candidates (never empty) and a cursor to the chosen index and the next cursor."""


def round_robin(candidates: Sequence[Candidate], cursor: int) -> tuple[int, int]:
    """The first candidate whose slot comes after the cursor, in slot order, around.

    The cursor is the slot last chosen, so that the turn survives replicas that come and go.
    """
    order = sorted(range(len(candidates)), key=lambda index: (candidates[index].slot, candidates[index].replica))
    chosen = next((index for index in order if candidates[index].slot > cursor), order[0])
    return chosen, candidates[chosen].slot


def least_outstanding(candidates: Sequence[Candidate], cursor: int) -> tuple[int, int]:
    """The candidate with the fewest requests in flight; among equals, whose turn it is."""
    fewest = min(candidate.in_flight for candidate in candidates)
    tied = [index for index, candidate in enumerate(candidates) if candidate.in_flight == fewest]
    chosen, cursor = round_robin([candidates[index] for index in tied], cursor)
    return tied[chosen], cursor
