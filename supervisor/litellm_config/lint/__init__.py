"""Findings about what LiteLLM would accept and then not do as meant.

Each rule is a small function in one of this package's modules; importing them registers them. What a rule needs beyond
the document belongs into its subject, or into the surroundings if somebody has to look for it. `codes` describes the
findings that come from elsewhere, and `page` writes docs/checks.md from both.
"""

from __future__ import annotations

from collections.abc import Iterator

from supervisor.errors import Finding
from supervisor.litellm_config.lint import database as _database
from supervisor.litellm_config.lint import deployments as _deployments
from supervisor.litellm_config.lint import duplicates as _duplicates
from supervisor.litellm_config.lint import exposure as _exposure
from supervisor.litellm_config.lint import literals as _literals
from supervisor.litellm_config.lint import machine as _machine
from supervisor.litellm_config.lint import routing as _routing
from supervisor.litellm_config.lint import services as _services
from supervisor.litellm_config.lint import sharing as _sharing
from supervisor.litellm_config.lint import spelling as _spelling
from supervisor.litellm_config.lint import structure as _structure
from supervisor.litellm_config.lint import values as _values
from supervisor.litellm_config.lint.rule import RULES, Rule, Subject
from supervisor.litellm_config.lint.surroundings import NOT_LOOKED_AT, Surroundings

__all__ = ["NOT_LOOKED_AT", "RULES", "Rule", "Subject", "Surroundings", "lint"]

_MODULES = (
    _structure,
    _values,
    _spelling,
    _deployments,
    _duplicates,
    _routing,
    _services,
    _database,
    _sharing,
    _literals,
    _exposure,
    _machine,
)


def lint(subject: Subject) -> Iterator[Finding]:
    """What every rule has to say."""
    for rule in RULES.values():
        yield from rule.findings(subject)
