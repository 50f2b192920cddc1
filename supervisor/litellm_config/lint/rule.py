"""What a lint rule is: a code, one sentence for people, and a function from the document to findings.

A rule looks at the operator's document after expansion and adaptation, and sees resolved values through its subject.
What it says never holds a value that could be a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from supervisor.errors import Finding, Severity
from supervisor.litellm_config.document import ListNode, MapNode, Node, Path_, Place, finding_at
from supervisor.litellm_config.expand import resolved
from supervisor.litellm_config.lint.surroundings import NOT_LOOKED_AT, Surroundings


@dataclass(frozen=True, slots=True)
class Subject:
    """The document that is looked at."""

    root: MapNode
    environ: Mapping[str, str] = field(repr=False)
    written: MapNode | None = field(default=None, repr=False)  # as the operator wrote it, includes joined
    around: Surroundings = NOT_LOOKED_AT

    def resolved(self, node: Node | None) -> object:
        """What LiteLLM will see here; None where a reference is not set."""
        return resolved(node, self.environ)

    def section(self, name: str) -> MapNode | None:
        node = self.root.get(name)
        return node if isinstance(node, MapNode) else None

    def models(self) -> Iterator[tuple[int, MapNode]]:
        """The entries of `model_list` that are mappings, with their index."""
        models = self.root.get("model_list")
        for index, item in enumerate(models.items if isinstance(models, ListNode) else ()):
            if isinstance(item, MapNode):
                yield index, item


@dataclass(frozen=True, slots=True)
class Remark:
    """What a rule says; the rule's own code and severity are added to it."""

    at: Node | Place | None
    message: str
    hint: str = ""
    path: Path_ = ()
    severity: Severity | None = None  # where it differs from the rule's


@dataclass(frozen=True, slots=True)
class Rule:
    code: str
    severity: Severity
    summary: str
    check: Callable[[Subject], Iterator[Remark]]

    def findings(self, subject: Subject) -> Iterator[Finding]:
        for remark in self.check(subject):
            severity = remark.severity or self.severity
            yield finding_at(remark.at, severity, self.code, remark.message, hint=remark.hint, path=remark.path)


RULES: dict[str, Rule] = {}


def rule(code: str, severity: Severity, summary: str) -> Callable[[Callable[[Subject], Iterator[Remark]]], Rule]:
    """Registers the decorated function under `code`, which must be new."""

    def register(check: Callable[[Subject], Iterator[Remark]]) -> Rule:
        if code in RULES:
            raise ValueError(f"two rules are called {code}")
        RULES[code] = Rule(code, severity, summary, check)
        return RULES[code]

    return register
