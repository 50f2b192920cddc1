"""What a daemon starts with: what the files describe or, when it was told so, a kept generation instead.

Blocks on files. The head start and the daemon itself both ask this, and get the same answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from supervisor.errors import ConfigurationRefused, Finding, Severity
from supervisor.history.choice import Substitute, made_again
from supervisor.history.kept import identity_of
from supervisor.history.store import History, Shelf
from supervisor.litellm_config.build import build_generation
from supervisor.litellm_config.generation import Generation


@dataclass(frozen=True, slots=True)
class First:
    """`generation` is what to start.

    `substitute` is where that comes from, if it is not what the files describe: because they are refused, or because
    the operator went back from what they say. `fallback` is what to go back to if it does not start.
    """

    generation: Generation
    on_disk: Generation | None = None
    refused: ConfigurationRefused | None = None
    substitute: Substitute | None = None
    fallback: Substitute | None = None
    skipped: tuple[str, ...] = ()


def first_generation(source: Path, environ: Mapping[str, str], state_dir: Path, *, last_good: bool) -> First:
    """Raises ConfigurationRefused when nothing can be started. Without `last_good` the history is not looked at."""
    try:
        generation = build_generation(source, environ, state_dir)
    except ConfigurationRefused as refused:
        if not last_good:
            raise
        return _instead(refused, source, environ, state_dir)
    if not last_good:
        return First(generation, generation)
    shelf = History(state_dir, source).shelf()
    first = First(generation, generation, skipped=shelf.skipped)
    try:
        newest = next(made_again(kept, environ, state_dir) for kept in shelf.last_stood())
    except (StopIteration, ConfigurationRefused):
        return first
    if newest.generation.digest == generation.digest:
        return first
    if identity_of(generation.source, generation.written) in newest.kept.instead_of:
        return dataclasses.replace(first, generation=newest.generation, substitute=newest)
    return dataclasses.replace(first, fallback=newest)


def _instead(refused: ConfigurationRefused, source: Path, environ: Mapping[str, str], state_dir: Path) -> First:
    history = History(state_dir, source)
    shelf = history.shelf()
    unusable: list[Finding] = []
    for kept in shelf.last_stood():
        try:
            substitute = made_again(kept, environ, state_dir)
        except ConfigurationRefused as again:  # an older one may do without the variable that this one misses
            unusable += [dataclasses.replace(finding, severity=Severity.NOTE) for finding in again.findings]
        else:
            return First(substitute.generation, refused=refused, substitute=substitute, skipped=shelf.skipped)
    raise ConfigurationRefused((*refused.findings, *unusable, _nothing_kept(history, shelf)), refused.watched) from None


def _nothing_kept(history: History, shelf: Shelf) -> Finding:
    kept = "none of those kept can be started" if shelf.entries else "none is kept"
    message = f"There is no last good configuration to start instead: {kept} in {history.directory}."
    if shelf.skipped:
        message += f" Skipped: {'; '.join(shelf.skipped)}."
    return Finding(Severity.NOTE, "no-last-good", message)
