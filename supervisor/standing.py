"""How what serves stands to what is on disk, for a status and for those who decide by it.

Owns what is known of the disk: what it describes or why it was refused, in what that differs from what serves, and why
something else may be wanted. Reads nothing, and changes nothing but that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from supervisor.history.kept import Kept, identity_of
from supervisor.history.moment import moment
from supervisor.litellm_config.difference import difference
from supervisor.litellm_config.generation import Generation

MOST_INSTEADS = 20
"""Of so many generations it is remembered why they are wanted; far more than there are ways back."""


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


class Standing:
    """`redact` takes the secrets out of the lines of a difference; it has to know them before `compare`."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self.described: Generation | None = None
        """What the last reading that was not refused said."""
        self.refusal: Refusal | None = None
        """Why what is on disk cannot be used, while that is so."""
        self._insteads: dict[str, Instead] = {}  # by its words
        self._difference: tuple[str, str, tuple[str, ...]] = ("", "", ())

    def seen(self, *, wanted: Generation | None, good: Generation | None) -> OnDisk:
        digest = self.described.digest if self.described and self.refusal is None else ""
        serves = "" if good is None else good.digest
        old, new, lines = self._difference
        current = old == serves and new == digest != serves
        return OnDisk(
            digest=digest,
            refusal=self.refusal,
            instead=None if wanted is None or wanted.digest == digest else self.instead_of(wanted),
            difference=lines if current else (),
        )

    def refused(self, at: float, problems: tuple[str, ...]) -> bool:
        """Whether that is news."""
        if self.refusal is not None and self.refusal.problems == problems:
            return False
        self.refusal = Refusal(at, problems)
        return True

    def set_instead(self, generation: Generation, instead: Instead) -> None:
        """Remembered by its words: it may be made again in another environment, or returned to when a change fails."""
        self._insteads[words_of(generation)] = instead
        while len(self._insteads) > MOST_INSTEADS:
            del self._insteads[next(iter(self._insteads))]

    def instead_of(self, generation: Generation | None) -> Instead | None:
        """Why this is wanted, if that is not because the disk says so."""
        return None if generation is None else self._insteads.get(words_of(generation))

    def agrees(self, generation: Generation) -> None:
        """It is wanted because the disk says so."""
        self._insteads.pop(words_of(generation), None)

    def compare(self, serves: Generation) -> None:
        """Notes what tells the configuration on disk from what serves."""
        described = self.described
        if described is not None and self._difference[:2] != (serves.digest, described.digest):
            self._difference = (serves.digest, described.digest, difference(serves, described, self._redact))


def words_of(generation: Generation) -> str:
    """The same for what the same files said, whatever the environment."""
    return identity_of(generation.source, generation.written)
