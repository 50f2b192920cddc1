"""How what serves stands to what is on disk: values, for a status and for those who decide by them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.history.kept import Kept
from supervisor.history.moment import moment


@dataclass(frozen=True, slots=True)
class Refusal:
    """The configuration on disk cannot be used. `at` is Unix seconds."""

    at: float
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Instead:
    """Something out of the history is wanted, and not what is on disk.

    By the operator's wish: then the words in `instead_of` are not applied before they change. Or because what is on
    disk cannot be started, for the reasons in `problems`.
    """

    kept: Kept
    by_operator: bool = False
    instead_of: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What may be told of the configuration on disk. `digest` is "" while it cannot be read."""

    digest: str = ""
    refusal: Refusal | None = None
    instead: Instead | None = None  # while that is wanted
    difference: tuple[str, ...] = ()  # from what serves to what is on disk

    @property
    def note(self) -> str:
        """Why what serves is out of the history, "" if it is not."""
        if self.instead is None:
            return ""
        if self.instead.by_operator:
            if not self.digest:
                return "rolled back by the operator; the file on disk is refused"
            disk = f"differs (generation {self.digest})"
            return f"rolled back by the operator; the file on disk {disk}. To apply it: litesup reload"
        because = "; ".join(self.instead.problems) or "what is on disk could not be started"
        return f"serving the last good configuration, of {moment(self.instead.kept.kept_at)}, because: {because}"
