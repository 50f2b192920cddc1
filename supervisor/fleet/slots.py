"""What each slot remembers of those that filled it: exits in a row, and what `status` tells of its past.

Owns those records. What follows from an exit, and when a slot may be filled again, is `policy.restart`'s to say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from supervisor.fleet.member import Member
from supervisor.policy.restart import RestartRules, SlotRecord, after_exit, forgiven


@dataclass(frozen=True, slots=True)
class SlotHistory:
    """What `status` tells of a slot's past."""

    restarts: int = 0
    last_exit: str | None = None

    def after(self, exit_text: str, *, expected: bool) -> SlotHistory:
        return dataclasses.replace(self, restarts=self.restarts + (0 if expected else 1), last_exit=exit_text)


class Slots:
    """`jitter` is drawn once per exit, from 0 to 1. A slot of which nothing is known has a clean record."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._records: dict[int, SlotRecord] = {}
        self._histories: dict[int, SlotHistory] = {}

    @property
    def records(self) -> Mapping[int, SlotRecord]:
        return MappingProxyType(self._records)

    def record(self, slot: int) -> SlotRecord:
        return self._records.get(slot, SlotRecord())

    def history(self, slot: int) -> SlotHistory:
        return self._histories.get(slot, SlotHistory())

    def ended(self, member: Member, text: str) -> None:
        """Whoever filled it is gone, be it as it was meant to be; `text` says how."""
        self._histories[member.slot] = self.history(member.slot).after(text, expected=member.expected)

    def fell(self, member: Member, now: float, rules: RestartRules) -> SlotRecord:
        """That nobody asked for, and it is this slot's own trouble; returns what the slot remembers of it."""
        record = self._records[member.slot] = after_exit(
            self.record(member.slot), ready_since=member.ready_since, now=now, jitter=self._jitter(), rules=rules
        )
        return record

    def forgive(self) -> None:
        """All get something new to run."""
        self._records = {slot: forgiven(record) for slot, record in self._records.items()}
