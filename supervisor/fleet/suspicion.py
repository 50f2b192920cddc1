"""What follows from a probe of a replica: in doubt or not, its requests elsewhere, or the end of it.

Tells the rotation and the listeners of events; whether a replica is killed is said to the pool, which does it. What
should follow is decided in `policy.health`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from supervisor import events as ev
from supervisor.fleet.member import Member
from supervisor.policy.health import HealthRules, Verdict, judge, may_kill
from supervisor.policy.lifecycle import SERVING, Happening
from supervisor.rotation import Rotation


class Suspicion:
    """Notes the probes of one pool's replicas."""

    def __init__(self, rotation: Rotation, events: ev.Events, rules: HealthRules) -> None:
        self._rotation = rotation
        self._events = events
        self.rules = rules

    def answered(self, member: Member, now: float) -> None:
        member.vitals = member.vitals.answered(now)
        if member.happens(Happening.PROBE_ANSWERED):
            self._rotation.set_suspect(member.replica, False)
            self._events.publish(ev.ReplicaRecovered(**member.named()))

    def missed(self, member: Member, why: str, now: float, *, members: Iterable[Member], wanted: int) -> str | None:
        """Why the replica is to be killed, or None. `members` are all of the pool, `wanted` how many should serve."""
        upstream = self._rotation.get(member.replica)
        member.vitals = member.vitals.missed(now, last_byte_at=upstream.last_byte_at if upstream else -math.inf)
        member.in_doubt()
        if member.happens(Happening.PROBE_MISSED):
            self._rotation.set_suspect(member.replica, True)
            self._events.publish(ev.ReplicaSuspect(**member.named(), reason=why))
        match judge(member.vitals, now=now, rules=self.rules):
            case Verdict.SILENT:
                self._rotation.give_up(member.replica)
            case Verdict.HUNG:
                self._rotation.give_up(member.replica)
                if not member.killed and self._may_kill(member, now, members, wanted):
                    return f"hung: no answer and no byte for {member.vitals.silence(now):.0f} s"
        return None

    def _may_kill(self, member: Member, now: float, members: Iterable[Member], wanted: int) -> bool:
        serving = [each for each in members if each.state in SERVING and not each.killed]
        return may_kill(
            member.state,
            well=sum(1 for each in serving if each is not member and not each.vitals.misses),
            serving=len(serving),
            wanted=wanted,
            silence=member.vitals.silence(now),
            rules=self.rules,
        )
