"""What must hold after every step of a simulated pool, whatever happens to it.

A model of its own, which does not ask the planner what it thinks: which slots serve and must go on serving, which
generations failed, which stood, who hangs. It sees what the simulation does to replicas, and what the pool does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor import events as ev
from supervisor.fleet.member import Member
from supervisor.fleet.messages import Want
from supervisor.policy.lifecycle import LIVE, SERVING
from supervisor.policy.rollout import plan

if TYPE_CHECKING:
    from tests.fleet.simulation import FakeShell, Simulation


class Promises:
    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._owed: set[int] = set()  # slots that serve: they may stop only with an excuse, or for a smaller pool
        self._stood: set[str] = set()  # generations that served for the settle time, or before there was any other
        self._kept: set[str] = set()  # generations that served under a daemon before this one
        self._failed: set[str] = set()
        self._hanging: set[int] = set()
        self._file: str | None = None  # what was read last, until the step that follows
        self._seen = 0  # events looked at so far
        self.stopping = False

    # What the simulation does.

    def excuse(self, slot: int) -> None:
        """The slot may be without a replica until it serves again: somebody took its replica away."""
        self._owed.discard(slot)

    def excuse_exit(self, replica: int) -> None:
        member = self._member(replica)
        if member is not None and member.serving:
            self.excuse(member.slot)

    def hangs(self, replica: int) -> None:
        self._hanging.add(replica)

    def saved(self, digest: str) -> None:
        """The daemon has read this from the file, and told the pool."""
        self._file = digest

    def told(self, message: Want) -> None:
        if message.again:
            self._failed.discard(message.generation.digest)
        if message.fallback is not None:
            self._kept.add(message.fallback.generation.digest)

    def spawns(self, shell: FakeShell) -> None:
        """Called when the pool makes a replica, before it counts it as its own."""
        simulation, digest = self._simulation, shell.digest
        course, trial = simulation.pool.course, simulation.pool.course.trial
        assert course.wanted is not None
        allowed = {course.wanted.digest, course.last_good} | ({trial.previous} if trial is not None else set())
        assert digest in allowed, f"{digest} is neither wanted nor on trial nor last good"
        assert digest not in self._failed, f"{digest} failed before, and nobody told to try it again"
        assert 1 <= shell.spec.slot <= simulation.pool.count, "a slot that nobody wants"
        assert not self.stopping, "nothing is started while the daemon stops"
        if self._stood and digest not in self._stood | self._kept:
            others = [m for m in simulation.pool.members if m.generation.digest == digest and m.state in LIVE]
            stood = any(self._stands(member) for member in others)
            assert stood or not others, f"one canary of {digest} until it stood"

    def before_step(self) -> None:
        """Notes who stood: the step may send that very replica away."""
        pool = self._simulation.pool
        if pool.wanted is not None and pool.wanted.digest not in self._stood:
            digest = pool.wanted.digest
            serving = (member for member in pool.members if member.serving and member.generation.digest == digest)
            if any(not self._stood or self._stands(member) for member in serving):
                self._stood.add(digest)

    # What must hold.

    def check(self) -> None:
        simulation, pool = self._simulation, self._simulation.pool
        serving: dict[int, list[Member]] = {}
        filling: dict[int, int] = {}
        for member in pool.members:
            view = member.view
            if view.state in LIVE:
                filling[view.slot] = filling.get(view.slot, 0) + 1
                if view.state in SERVING:
                    serving.setdefault(view.slot, []).append(member)
        self._check_serving(serving)
        wanted = [number for slot, number in filling.items() if slot <= pool.count]
        assert self.stopping or sum(wanted) <= pool.count + 1, f"surge is 1: {pool!r}"
        assert max(filling.values(), default=0) <= 2, "two replicas are enough for any slot"
        self._check_rotation({member.replica for members in serving.values() for member in members})
        self._read_events()
        if self._file is not None and not self.stopping and pool.wanted is not None:
            assert pool.wanted.digest == self._file or self._file in self._failed, "a newer file changes the target"
        self._file = None
        if pool.wanted is not None and not self.stopping:
            again = plan(pool._world(), now=simulation.now, rules=pool._rules.planning)
            assert not again.actions, f"asked twice, it answers nothing: {again.actions}"

    def _check_serving(self, serving: dict[int, list[Member]]) -> None:
        """Unavailable is 0: a slot that serves is never left without a replica by the pool itself."""
        count = self._simulation.pool.count
        dark = sorted(slot for slot in self._owed if slot not in serving)
        if not self.stopping:
            assert not [slot for slot in dark if slot <= count], f"slots {dark} serve no more, and nobody took them"
            surplus = [slot for slot in dark if slot > count]
            assert not surplus or len(serving) >= count, f"slots {surplus} were scaled away while too few others serve"
        self._owed = set(serving)

    def _check_rotation(self, serving: set[int]) -> None:
        """Requests go to exactly those that serve; what drains gets none."""
        rotation = self._simulation.rotation
        assert {upstream.replica for upstream in rotation if not upstream.leaving} == serving
        if len(serving) < 20:  # choosing among a thousand is measured elsewhere
            chosen = rotation.take()
            assert (chosen is None) == (not serving)
            suspect = all(upstream.suspect for upstream in rotation if not upstream.leaving)
            if chosen is not None:
                rotation.release(chosen)
                assert chosen.replica in serving
                assert suspect or not chosen.suspect

    def _stands(self, member: Member) -> bool:
        settle, now = self._simulation.pool._rules.planning.settle, self._simulation.now
        return member.ready_since is not None and now >= member.ready_since + settle and not member.view.doubted

    def _read_events(self) -> None:
        seen = self._simulation.seen
        if self._seen > len(seen):  # a test has cleared them
            self._seen = 0
        for event in seen[self._seen :]:
            match event:
                case ev.RolloutFailed(generation=digest):
                    self._failed.add(digest)
                case ev.ReplicaKilled(replica=replica, reason=reason):
                    self._check_kill(replica, reason)
        self._seen = len(seen)

    def _check_kill(self, replica: int, reason: str) -> None:
        if reason.startswith("hung"):
            assert replica in self._hanging, "only what hangs is killed"
        elif reason.startswith("did not answer"):
            member = self._member(replica)
            assert member is None or member.ready_since is None, "it answered"

    def _member(self, replica: int) -> Member | None:
        return next((member for member in self._simulation.pool.members if member.replica == replica), None)
