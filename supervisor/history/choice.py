"""Which kept generation to go back to, made again in today's environment; or why none. Blocks on files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from supervisor.errors import ConfigurationRefused, Finding, Severity
from supervisor.history.kept import Kept
from supervisor.history.store import Shelf
from supervisor.litellm_config.build import rebuild_generation
from supervisor.litellm_config.generation import Generation


@dataclass(frozen=True, slots=True)
class Substitute:
    """A kept generation, made again in today's environment."""

    generation: Generation
    kept: Kept


def made_again(kept: Kept, environ: Mapping[str, str], state_dir: Path) -> Substitute:
    """Raises ConfigurationRefused, with the reasons in one finding."""
    try:
        return Substitute(rebuild_generation(kept.source, kept.written, environ, state_dir), kept)
    except ConfigurationRefused as refused:
        raise ConfigurationRefused([_unusable(kept, _errors(refused.findings))]) from None
    except Exception as error:  # what was kept by another version may be what this one cannot read
        raise ConfigurationRefused([_unusable(kept, type(error).__name__)]) from None


def choose(
    shelf: Shelf, prefix: str | None, present: Generation | None, environ: Mapping[str, str], state_dir: Path
) -> Substitute:
    """The good one before `present`, or the one whose digest begins with `prefix`. Raises ConfigurationRefused."""
    if prefix is not None:
        found = shelf.named(prefix)
        if len(found) != 1:
            raise ConfigurationRefused([_not_one(prefix, found)])
        return made_again(found[0], environ, state_dir)
    for kept in shelf.before(present):
        made = made_again(kept, environ, state_dir)
        # Other words may mean the same: a comment, say.
        if present is None or made.generation.digest != present.digest:
            return made
    before = f" from before generation {present.digest}" if shelf.entries and present is not None else ""
    skipped = f" Skipped: {'; '.join(shelf.skipped)}." if shelf.skipped else ""
    raise ConfigurationRefused([_refusal("nothing-to-go-back-to", f"No good generation is kept{before}.{skipped}")])


def _unusable(kept: Kept, why: str) -> Finding:
    message = f"The good generation {kept.digest} cannot be started now: {why}"
    return _refusal("kept-unusable", message, "Put that right, or choose another one: litesup history")


def _errors(findings: Iterable[Finding]) -> str:
    return " ".join(finding.message for finding in findings if finding.severity is Severity.ERROR)


def _not_one(prefix: str, found: Sequence[Kept]) -> Finding:
    if not found:
        return _refusal("not-kept", f"No good generation {prefix} is kept.")
    names = ", ".join(kept.digest for kept in found)
    return _refusal("not-kept", f"{prefix} may be any of {names}.")


def _refusal(code: str, message: str, hint: str = "See what is kept: litesup history") -> Finding:
    return Finding(Severity.ERROR, code, message, hint)
