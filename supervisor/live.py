"""The settings in force, and the one way in which they change while the daemon runs.

Owns the values that all parts go by, and what is known of `litesup.yaml` on disk. Whoever uses a value once in a while
reads it from here when it is needed; whoever keeps a rule of its own is handed the new one. Values are frozen: a change
exchanges all of them at once, in one turn of the loop.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from supervisor import events as ev
from supervisor.control.operations import SettingsOutcome
from supervisor.errors import ConfigurationRefused, Finding, Severity
from supervisor.settings.diff import Applies, diff, in_force_after
from supervisor.settings.load import examine
from supervisor.settings.schema import Settings
from supervisor.settings.source import SettingsSource
from supervisor.status import SettingsStatus

log = structlog.get_logger("litesup.settings")

HandOn = Callable[[Settings, Settings], None]
"""Gets the settings before and after; must neither wait nor raise."""


class LiveSettings:
    """`now` are the settings in force. Without a source they never change."""

    def __init__(self, settings: Settings, source: SettingsSource | None, events: ev.Events) -> None:
        self._now = settings
        self._source = source
        self._events = events
        self._had_file = source is not None and source.has_file
        self._hand_on: list[HandOn] = []
        self._allows: list[Callable[[Settings], None]] = []
        self._turn = asyncio.Lock()
        self.status = SettingsStatus(file=str(source.file) if self._had_file and source is not None else "")

    @property
    def now(self) -> Settings:
        return self._now

    @property
    def watched(self) -> tuple[Path, ...]:
        """What to read again when it changes."""
        return () if self._source is None else (self._source.file,)

    def on_change(self, hand_on: HandOn) -> None:
        """Calls `hand_on` whenever other settings come into force."""
        self._hand_on.append(hand_on)

    def only_if(self, allows: Callable[[Settings], None]) -> None:
        """Asks `allows` before settings come into force; it raises ConfigurationRefused where they must not."""
        self._allows.append(allows)

    async def reload(self) -> SettingsOutcome:
        """Reads `litesup.yaml` again, with the flags and the environment of the start, and applies what can be.

        Any error in it changes nothing.
        """
        source = self._source
        if source is None:
            return SettingsOutcome()
        async with self._turn:
            try:
                fresh = await asyncio.to_thread(source.read_again, had_file=self._had_file)
                self._had_file = await asyncio.to_thread(lambda: source.has_file)
                return self._adopt(fresh, source)
            except ConfigurationRefused as refused:
                return self._refuse(refused, source)
            except Exception as error:  # whatever it is, the old settings stay
                log.exception("settings_reload_failed")
                finding = Finding(Severity.ERROR, "settings-not-read", f"reading failed: {type(error).__name__}")
                return self._refuse(ConfigurationRefused([finding]), source)

    def _adopt(self, fresh: Settings, source: SettingsSource) -> SettingsOutcome:
        before, after = self._now, in_force_after(self._now, fresh)
        # The file was examined as a whole, but the ports it names need not be those that are open.
        if problems := examine(after):
            raise ConfigurationRefused(problems)
        for allows in self._allows:
            allows(after)
        changes = diff(before, fresh)
        outcome = SettingsOutcome(
            applied=tuple(str(change) for change in changes if change.applies is not Applies.RESTART),
            rolls=any(change.applies is Applies.ROLL for change in changes),
            needs_restart=tuple(str(change) for change in changes if change.applies is Applies.RESTART),
        )
        self._now = after
        if outcome.applied:
            for hand_on in self._hand_on:
                hand_on(before, after)
            self._events.publish(ev.SettingsApplied(outcome.applied))
        if outcome.needs_restart and outcome.needs_restart != self.status.needs_restart:
            self._events.publish(ev.SettingsNeedRestart(outcome.needs_restart))
        self.status = SettingsStatus(str(source.file) if self._had_file else "", outcome.needs_restart)
        return outcome

    def _refuse(self, refused: ConfigurationRefused, source: SettingsSource) -> SettingsOutcome:
        problems = tuple(str(finding) for finding in refused.findings)
        if problems != self.status.refused:
            self._events.publish(ev.SettingsRefused(problems))
            self.status = dataclasses.replace(
                self.status, file=str(source.file), refused_at=time.time(), refused=problems
            )
        return SettingsOutcome(problems=problems, needs_restart=self.status.needs_restart)
