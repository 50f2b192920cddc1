"""What is done to the pool during a soak, and when: drawn once, from a seed. Pure.

Deeds come in decks: every deed as often as it weighs, shuffled. So a short soak sees each kind too, and a long one sees
them in many orders.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


class Deed(enum.Enum):
    KILL = "kill -9 of a replica"
    KILL_TWO = "kill -9 of two at once"
    KILL_ALL = "kill -9 of all at once"
    STOP_BRIEFLY = "SIGSTOP, and SIGCONT soon"
    STOP_LONG = "SIGSTOP, and SIGCONT when it is suspect"
    STOP_FOR_GOOD = "SIGSTOP until it is killed"
    KILL_FORK_SERVER = "kill -9 of the fork server"
    STOP_FORK_SERVER = "SIGSTOP of the fork server, and SIGCONT"
    RELOAD = "a good change is saved"
    RELOAD_TWICE = "two good changes, the second amid the first"
    RELOAD_AND_KILL = "a good change, and kill -9 amid it"
    BROKEN = "a typo is saved, and taken back"
    CRASHES = "a change whose replicas die, and taken back"
    ENVIRONMENT = "a change of the environment"
    ROLLBACK = "litesup rollback"
    HANGUP = "SIGHUP"
    SETTINGS = "litesup.yaml is saved"
    SCALE_UP = "scale to more, and back"
    SCALE_DOWN = "scale to fewer, and back"
    RESTART = "litesup restart"
    DRAIN = "litesup drain of a slot"
    LOOK_ON = "litesup logs -f, whose reader is killed"


WEIGHTS: Mapping[Deed, int] = {
    **dict.fromkeys(Deed, 1),
    Deed.KILL: 6,
    Deed.KILL_TWO: 2,
    Deed.STOP_BRIEFLY: 3,
    Deed.RELOAD: 2,
    Deed.BROKEN: 2,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One deed. `pause` is in seconds, before it; `draw`, from 0 to 1, decides what it leaves open: who, how long."""

    deed: Deed
    pause: float
    draw: float


def steps(seed: int, *, pauses: tuple[float, float] = (0.5, 4.0)) -> Iterator[Step]:
    """Without end."""
    source = random.Random(seed)
    deck: list[Deed] = []
    while True:
        if not deck:
            deck = [deed for deed, weight in WEIGHTS.items() for _ in range(weight)]
            source.shuffle(deck)
        yield Step(deck.pop(), source.uniform(*pauses), source.random())
