"""Every code that a finding can have, with what its page says: the rules', and those of whoever reads and adapts.

Findings are made where something is found out, all over the program; that none of them lacks a page is held by a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from supervisor.errors import Severity


@dataclass(frozen=True, slots=True)
class Code:
    """`severity` is the usual one, `why` what happens otherwise, `step` what to do, `example` YAML (or empty)."""

    code: str
    severity: Severity
    summary: str
    why: str
    step: str
    example: str


def all_codes() -> Mapping[str, tuple[Code, ...]]:
    """By the heading under which they stand."""
    from supervisor.litellm_config.lint import RULES
    from supervisor.litellm_config.lint.codes_deep import DEEP
    from supervisor.litellm_config.lint.codes_meaning import MEANING
    from supervisor.litellm_config.lint.codes_reading import READING
    from supervisor.litellm_config.lint.codes_running import RUNNING, SETTINGS

    groups: dict[str, tuple[Code, ...]] = {"Reading the files": READING, "References, keys and Azure": MEANING}
    for rule in RULES.values():
        heading = _HEADINGS[rule.check.__module__.rpartition(".")[2]]
        groups[heading] = (*groups.get(heading, ()), rule)
    return {**groups, "LiteLLM itself (--deep)": DEEP, "litesup.yaml": SETTINGS, "Starting and reloading": RUNNING}


def code_named(name: str) -> Code | None:
    return next((code for codes in all_codes().values() for code in codes if code.code == name), None)


_HEADINGS = {
    "structure": "Sections and entries",
    "values": "Values",
    "spelling": "Names",
    "deployments": "Models",
    "duplicates": "Models that share a name",
    "routing": "Routing",
    "services": "Caches, callbacks and what else LiteLLM needs",
    "database": "The database",
    "sharing": "What replicas count alone",
    "literals": "Secrets",
    "exposure": "Secrets",
    "machine": "The machine",
}
