"""What a lint rule is: a code, what its page says, and a function from the document to remarks.

A rule looks at the operator's document after expansion and adaptation, and sees resolved values through its subject.
What it says never holds a value that could be a secret.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from supervisor.errors import Finding, Severity
from supervisor.litellm_config.database import database_of
from supervisor.litellm_config.document import ListNode, MapNode, Node, Path_, Place, Scalar, finding_at
from supervisor.litellm_config.expand import resolved
from supervisor.litellm_config.lint.codes import Code
from supervisor.litellm_config.lint.surroundings import NOT_LOOKED_AT, Surroundings
from supervisor.litellm_config.providers import provider_prefix


@dataclass(frozen=True, slots=True)
class Deployment:
    """An entry of `model_list` that is complete enough to be looked at. `provider` is empty where none is named."""

    index: int
    name: str
    model: str  # resolved, with its provider
    provider: str
    entry: MapNode
    params: MapNode

    def path(self, *below: str) -> Path_:
        return ("model_list", self.index, *below)

    @property
    def bare(self) -> str:
        """The model without its provider."""
        prefix = f"{self.provider}/"
        return self.model.removeprefix(prefix) if self.provider else self.model


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

    def text(self, mapping: MapNode | None, key: str) -> str:
        """The text under `key`, resolved; empty where there is none."""
        value = self.resolved(mapping.get(key)) if mapping is not None else None
        return value if isinstance(value, str) else ""

    def section(self, *names: str) -> MapNode | None:
        """The mapping at this path of keys."""
        node: Node | None = self.root
        for name in names:
            node = node.get(name) if isinstance(node, MapNode) else None
        return node if isinstance(node, MapNode) else None

    def setting(self, section: str, name: str) -> Node | None:
        """The value of a setting; None where it is absent, or given no value."""
        found = self.section(section)
        node = found.get(name) if found is not None else None
        return None if isinstance(node, Scalar) and node.value is None else node

    def models(self) -> Iterator[tuple[int, MapNode]]:
        """The entries of `model_list` that are mappings, with their index."""
        for index, item in enumerate(items_of(self.root.get("model_list"))):
            if isinstance(item, MapNode):
                yield index, item

    def deployments(self) -> Iterator[Deployment]:
        custom = self.custom_providers
        for index, entry in self.models():
            params = entry.get("litellm_params")
            if not isinstance(params, MapNode) or not (model := self.text(params, "model")):
                continue
            provider = self.text(params, "custom_llm_provider") or provider_prefix(model, custom) or ""
            yield Deployment(index, self.text(entry, "model_name"), model, provider, entry, params)

    @property
    def custom_providers(self) -> frozenset[str]:
        entries = items_of(self.setting("litellm_settings", "custom_provider_map"))
        return frozenset(self.text(item, "provider") for item in entries if isinstance(item, MapNode))

    @property
    def has_database(self) -> bool:
        return database_of(self.root, self.environ) is not None

    @property
    def has_vault(self) -> bool:
        """Whether what is not in the environment may be in LiteLLM's key management."""
        return self.setting("general_settings", "key_management_system") is not None


@dataclass(frozen=True, slots=True)
class Remark:
    """What a rule says; the rule's own code and severity are added to it."""

    at: Node | Place | None
    message: str
    hint: str = ""
    path: Path_ = ()
    severity: Severity | None = None  # where it differs from the rule's


@dataclass(frozen=True, slots=True)
class Rule(Code):
    """Its example is a document to which it objects; a rule that looks at the machine has none."""

    check: Callable[[Subject], Iterator[Remark]]

    def findings(self, subject: Subject) -> Iterator[Finding]:
        for remark in self.check(subject):
            severity = remark.severity or self.severity
            yield finding_at(remark.at, severity, self.code, remark.message, hint=remark.hint, path=remark.path)


RULES: dict[str, Rule] = {}


def rule(
    code: str, severity: Severity, summary: str, *, step: str, example: str = ""
) -> Callable[[Callable[[Subject], Iterator[Remark]]], Rule]:
    """Registers the decorated function under `code`, which must be new. Its docstring says why the rule exists."""

    def register(check: Callable[[Subject], Iterator[Remark]]) -> Rule:
        if code in RULES:
            raise ValueError(f"two rules are called {code}")
        RULES[code] = Rule(code, severity, summary, inspect.getdoc(check) or "", step, example, check)
        return RULES[code]

    return register


def items_of(node: Node | None) -> tuple[Node, ...]:
    """The elements of a list; none where it is something else."""
    return node.items if isinstance(node, ListNode) else ()
