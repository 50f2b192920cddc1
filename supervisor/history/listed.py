"""What is kept, as an operator is shown it: by the daemon, and by the command where no daemon runs."""

from __future__ import annotations

from supervisor.control.operations import HistoryEntry
from supervisor.history.store import Shelf
from supervisor.litellm_config.generation import Generation


def listed(shelf: Shelf, serves: Generation | None = None) -> tuple[HistoryEntry, ...]:
    """What came into force last first; `serves` is marked as running."""
    running = shelf.of(serves)
    return tuple(
        HistoryEntry(kept.digest, kept.kept_at, kept.stood_at, kept.reason, running=kept is running)
        for kept in shelf.entries
    )
