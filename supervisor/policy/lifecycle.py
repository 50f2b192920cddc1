"""The life of one replica, as a table.

A replica never restarts; its slot does. READY means that it answered, never that time passed. Every pair of state and
happening is in exactly one of three places: a transition, an entry of `IGNORED`, or nowhere, which makes it a bug that
`advance` reports and that leaves the state as it was.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType


class State(enum.Enum):
    STARTING = "starting"  # asked for; has not answered yet
    WARMING = "warming"  # answers; its warm-up is not finished
    READY = "ready"  # in rotation
    SUSPECT = "suspect"  # missed a probe; gets no new request while others are ready
    DRAINING = "draining"  # out of rotation; finishes what it holds
    STOPPING = "stopping"  # told to end
    EXITED = "exited"

    # Members are one of a kind, and an enum's own hash runs in Python: too slow to ask of a thousand replicas.
    __hash__ = object.__hash__


class Happening(enum.Enum):
    ANSWERED = "answered"  # the first answer to a probe
    WARMED = "warmed"  # the warm-up is over, complete or not
    PROBE_ANSWERED = "probe_answered"
    PROBE_MISSED = "probe_missed"
    LEAVE = "leave"  # it is to go: finish what you hold
    DRAINED = "drained"  # nothing in flight any more, or the drain deadline passed
    EXITED = "exited"


class IllegalTransition(Exception):
    """Something happened that cannot happen in this state: a bug of the caller."""


TRANSITIONS: Mapping[tuple[State, Happening], State] = MappingProxyType(
    {
        (State.STARTING, Happening.ANSWERED): State.WARMING,
        (State.WARMING, Happening.WARMED): State.READY,
        (State.READY, Happening.PROBE_MISSED): State.SUSPECT,
        (State.SUSPECT, Happening.PROBE_ANSWERED): State.READY,
        # What never served has nothing to finish.
        (State.STARTING, Happening.LEAVE): State.STOPPING,
        (State.WARMING, Happening.LEAVE): State.STOPPING,
        (State.READY, Happening.LEAVE): State.DRAINING,
        (State.SUSPECT, Happening.LEAVE): State.DRAINING,
        (State.DRAINING, Happening.DRAINED): State.STOPPING,
        # A process may end at any time.
        **{(state, Happening.EXITED): State.EXITED for state in State if state is not State.EXITED},
    }
)

IGNORED: frozenset[tuple[State, Happening]] = frozenset(
    {
        (State.READY, Happening.PROBE_ANSWERED),
        (State.SUSPECT, Happening.PROBE_MISSED),
        # Told twice to leave.
        (State.DRAINING, Happening.LEAVE),
        (State.STOPPING, Happening.LEAVE),
        # Answers that were under way when it was told to leave, or when it ended.
        *(
            (state, happening)
            for state in (State.DRAINING, State.STOPPING, State.EXITED)
            for happening in (Happening.PROBE_ANSWERED, Happening.PROBE_MISSED)
        ),
        *(
            (state, happening)
            for state in (State.STOPPING, State.EXITED)
            for happening in (Happening.ANSWERED, Happening.WARMED, Happening.DRAINED)
        ),
        (State.EXITED, Happening.LEAVE),
    }
)

LIVE = frozenset({State.STARTING, State.WARMING, State.READY, State.SUSPECT})
"""States in which a replica fills its slot."""

SERVING = frozenset({State.READY, State.SUSPECT})
"""States in which a replica is in rotation."""


def advance(state: State, happening: Happening) -> State:
    """The next state, which may be the same one. Raises IllegalTransition."""
    following = TRANSITIONS.get((state, happening))
    if following is not None:
        return following
    if (state, happening) in IGNORED:
        return state
    raise IllegalTransition(f"{happening.value} cannot happen to a replica that is {state.value}")
