"""The pool's record of one replica. Owned and changed by the pool alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from supervisor.fleet.replica import Replica
from supervisor.litellm_config.generation import Generation
from supervisor.policy.health import Vitals
from supervisor.policy.lifecycle import SERVING, Happening, State, advance
from supervisor.policy.rollout import ReplicaView, Spawn
from supervisor.rotation import Upstream


@dataclass(slots=True)
class Member:
    """`view` is what the planner knows of it, and where its state is kept. Moments are monotonic seconds."""

    shell: Replica
    generation: Generation
    reason: str  # why it was spawned
    view: ReplicaView
    pid: int | None = None
    vitals: Vitals = dataclasses.field(default_factory=Vitals)
    leaving: str = ""  # why it is to go, once it is
    killed: str = ""  # why it was killed, once it is

    @classmethod
    def spawned(cls, shell: Replica, generation: Generation, why: Spawn, now: float) -> Self:
        spec = shell.spec
        view = ReplicaView(spec.replica, spec.slot, generation.digest, State.STARTING, now, migrates=why.migrates)
        return cls(shell, generation, why.reason, view)

    @property
    def replica(self) -> int:
        return self.view.replica

    @property
    def slot(self) -> int:
        return self.view.slot

    @property
    def expected(self) -> bool:
        """Whether its end is litesup's wish and not its own failure."""
        return bool(self.leaving)

    @property
    def state(self) -> State:
        return self.view.state

    @property
    def spawned_at(self) -> float:
        return self.view.spawned_at

    @property
    def ready_since(self) -> float | None:
        return self.view.ready_since

    def happens(self, happening: Happening) -> bool:
        """Moves on; true when the state changed."""
        state = advance(self.state, happening)
        if state is self.state:
            return False
        self.view = dataclasses.replace(self.view, state=state)
        return True

    def became_ready(self, now: float) -> None:
        self.vitals = self.vitals.answered(now)
        self.view = dataclasses.replace(self.view, ready_since=now)

    def in_doubt(self) -> None:
        self.view = dataclasses.replace(self.view, doubted=True)

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
