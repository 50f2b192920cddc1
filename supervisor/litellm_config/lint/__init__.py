"""Findings about what LiteLLM would accept and then not do as meant.

Each rule is a small function in one of this package's modules; importing them registers them. What a rule needs beyond
the document belongs into its subject.
"""

from __future__ import annotations

from collections.abc import Iterator

from supervisor.errors import Finding
from supervisor.litellm_config.lint import exposure as _exposure
from supervisor.litellm_config.lint import structure as _structure
from supervisor.litellm_config.lint import values as _values
from supervisor.litellm_config.lint.rule import RULES, Rule, Subject
from supervisor.litellm_config.lint.surroundings import NOT_LOOKED_AT, Surroundings

__all__ = ["NOT_LOOKED_AT", "RULES", "Rule", "Subject", "Surroundings", "lint"]

_MODULES = (_exposure, _structure, _values)


def lint(subject: Subject) -> Iterator[Finding]:
    """What every rule has to say."""
    for rule in RULES.values():
        yield from rule.findings(subject)
