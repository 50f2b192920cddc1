"""The pool's record of one replica. Owned and changed by the pool alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from supervisor.fleet.replica import Replica
from supervisor.litellm_config.generation import Generation
from supervisor.policy.health import Vitals
from supervisor.policy.lifecycle import SERVING, Happening, State, advance
from supervisor.policy.rollout import ReplicaView
from supervisor.rotation import Upstream


@dataclass(slots=True)
class Member:
    """Moments are monotonic seconds."""

    shell: Replica
    generation: Generation
    reason: str  # why it was spawned
    spawned_at: float
    state: State = State.STARTING
    pid: int | None = None
    ready_since: float | None = None
    doubted: bool = False
    vitals: Vitals = dataclasses.field(default_factory=Vitals)
    leaving: str = ""  # why it is to go, once it is
    killed: str = ""  # why it was killed, once it is

    @property
    def replica(self) -> int:
        return self.shell.spec.replica

    @property
    def slot(self) -> int:
        return self.shell.spec.slot

    @property
    def expected(self) -> bool:
        """Whether its end is litesup's wish and not its own failure."""
        return bool(self.leaving)

    def happens(self, happening: Happening) -> bool:
        """Moves on; true when the state changed."""
        before = self.state
        self.state = advance(before, happening)
        return self.state is not before

    def view(self) -> ReplicaView:
        return ReplicaView(
            replica=self.replica,
            slot=self.slot,
            generation=self.generation.digest,
            state=self.state,
            spawned_at=self.spawned_at,
            ready_since=self.ready_since,
            doubted=self.doubted,
        )

    def upstream(self) -> Upstream:
        """What the balancer gets to know of it."""
        return Upstream(
            replica=self.replica,
            slot=self.slot,
            generation=self.generation.digest,
            socket_path=self.shell.spec.socket_path,
            credential=self.generation.master_key,
            key_header=self.generation.key_header,
        )

    @property
    def serving(self) -> bool:
        return self.state in SERVING

    def named(self) -> dict[str, Any]:
        """The fields by which every event about it names it."""
        return {"replica": self.replica, "slot": self.slot, "generation": self.generation.digest}


@dataclass(frozen=True, slots=True)
class SlotHistory:
    """What `status` tells of a slot's past."""

    restarts: int = 0
    last_exit: str | None = None

    def after(self, exit_text: str, *, expected: bool) -> SlotHistory:
        return dataclasses.replace(self, restarts=self.restarts + (0 if expected else 1), last_exit=exit_text)
