"""References in the document, turned into what LiteLLM understands.

LiteLLM resolves `os.environ/NAME`, and only as the whole value of a mapping's key (also of a mapping that is an element
of a list); what it resolves to is a text. So a whole reference becomes LiteLLM's own, a part of a longer text a
generated variable that the whole value then names, and only in a list's elements, which LiteLLM leaves alone, the text
itself is written out. Secrets therefore stay in the environment, lists excepted.

A value that YAML reads as a number, true, false or null is written out as such, unless the names around it say that it
is a secret: a key of digits only stays a text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from supervisor.errors import Finding, Severity
from supervisor.litellm_config import environment, fields, references
from supervisor.litellm_config.document import (
    Entry,
    ListNode,
    MapNode,
    Node,
    Path_,
    Plain,
    Scalar,
    finding_at,
    plain_value,
    read_scalar,
)
from supervisor.litellm_config.references import OS_ENVIRON, Chosen, MalformedReferenceError
from supervisor.litellm_config.vault import Vault
from supervisor.secret_names import names_a_secret

GENERATED = "LITESUP_REF_"


@dataclass(frozen=True, slots=True)
class Expanded:
    root: MapNode
    generated: Mapping[str, str]  # variables that the result refers to; hold secrets
    findings: tuple[Finding, ...]

    def __repr__(self) -> str:
        return f"Expanded(generated={sorted(self.generated)}, findings={len(self.findings)})"


def expand(root: MapNode, environ: Mapping[str, str], vault: Vault) -> Expanded:
    """Every reference in `root`, resolved against `environ`."""
    expansion = _Expansion(environ, vault)
    done = expansion.mapping(root, (), resolvable=True)
    return Expanded(done, expansion.generated, tuple(expansion.findings))


def expand_text(
    scalar: Scalar, path: Path_, environ: Mapping[str, str], vault: Vault
) -> tuple[str | None, list[Finding]]:
    """The text of a value of `environment_variables`; None where a variable is not set, or the text is malformed."""
    expansion = _Expansion(environ, vault)
    text = str(scalar.value)
    chosen = expansion.chosen(text, scalar, path)
    if chosen is None or not expansion.all_set(chosen, scalar, path, repairable=chosen.whole is not None):
        return None, expansion.findings
    return chosen.text(environ.get), expansion.findings


def generated_name(template: str) -> str:
    """The variable for `template`: the same wherever the same text is written, so that a digest stays the same."""
    return GENERATED + hashlib.sha256(template.encode()).hexdigest()[:12].upper()


def resolved(node: Node | None, environ: Mapping[str, str]) -> object:
    """What LiteLLM will see in place of an expanded node."""
    if node is None or not isinstance(node, Scalar) or not isinstance(node.value, str):
        return None if node is None else plain_value(node)
    name = references.litellm_reference(node.value)
    return node.value if name is None else environ.get(name)


class _Expansion:
    def __init__(self, environ: Mapping[str, str], vault: Vault) -> None:
        self.generated: dict[str, str] = {}
        self.findings: list[Finding] = []
        self._environ = environ
        self._vault = vault

    def mapping(self, node: MapNode, path: Path_, *, resolvable: bool) -> MapNode:
        entries = []
        for entry in node.entries:
            if isinstance(entry.key.value, str) and "${" in entry.key.value:
                message = "A key cannot hold a reference: LiteLLM would take it literally."
                hint = "Write the name itself."
                self._add(entry.key, Severity.ERROR, "reference-in-key", message, (*path, entry.key.value), hint)
            here = (*path, str(entry.key.value))
            entries.append(Entry(entry.key, self._value(entry.value, here, resolvable=resolvable)))
        return MapNode(tuple(entries), node.place)

    def _value(self, node: Node, path: Path_, *, resolvable: bool) -> Node:
        if isinstance(node, MapNode):
            return self.mapping(node, path, resolvable=resolvable)
        if isinstance(node, ListNode):
            return self._list(node, path, resolvable=resolvable)
        return self._in_mapping(node, path) if resolvable else self._written_out(node, path)

    def _list(self, node: ListNode, path: Path_, *, resolvable: bool) -> ListNode:
        items: list[Node] = []
        for index, item in enumerate(node.items):
            here = (*path, index)
            if isinstance(item, Scalar):
                items.append(self._written_out(item, here))
            elif isinstance(item, MapNode):
                items.append(self.mapping(item, here, resolvable=resolvable))
            else:
                items.append(self._list(item, here, resolvable=False))
        return ListNode(tuple(items), node.place)

    def _in_mapping(self, node: Scalar, path: Path_) -> Scalar:
        if not isinstance(node.value, str):
            return node
        chosen = self.chosen(node.value, node, path)
        if chosen is None or not self.all_set(chosen, node, path, repairable=chosen.whole is not None):
            name = chosen.whole if chosen else None
            return Scalar(OS_ENVIRON + name, node.place, plain=False) if name else node
        if chosen.is_literal:
            text = chosen.text(self._environ.get)
            if text == node.value:
                return node
            return Scalar(self._typed(text, chosen, node, path), node.place, plain=node.plain)
        typed = self._typed(chosen.text(self._environ.get), chosen, node, path)
        if not isinstance(typed, str):
            message = f"{_named(chosen)} reads as {_kind(typed)}, and is written out as one."
            self._add(node, Severity.NOTE, "reference-typed", message, path)
            return Scalar(typed, node.place)
        return self._referring(chosen, node, node.value, path)

    def _referring(self, chosen: Chosen, node: Scalar, written: str, path: Path_) -> Scalar:
        name = chosen.whole
        if name is not None and not environment.reserved(name):
            value = OS_ENVIRON + name
            if value != written:
                self._add(node, Severity.NOTE, "reference-adapted", f"{_named(chosen)} becomes {value}.", path)
            if not self._environ[name]:
                message = f"{name} is set, but empty."
                self._add(node, Severity.WARNING, "reference-empty", message, path, "Give it a value, or a default.")
            return Scalar(value, node.place, plain=False)
        generated = generated_name(written)
        self.generated[generated] = chosen.text(self._environ.get)
        message = f"{_named(chosen)} is passed on in a variable of its own, {generated}."
        self._add(node, Severity.NOTE, "reference-in-text", message, path)
        return Scalar(OS_ENVIRON + generated, node.place, plain=False)

    def _written_out(self, node: Scalar, path: Path_) -> Scalar:
        if not isinstance(node.value, str):
            return node
        chosen = self.chosen(node.value, node, path)
        if chosen is None or not self.all_set(chosen, node, path, repairable=False):
            return node
        text = chosen.text(self._environ.get)
        if chosen.is_literal:
            return node if text == node.value else Scalar(text, node.place, plain=node.plain)
        if any(names_a_secret(name) for name in _names(chosen)):
            message = f"{_named(chosen)} is written into the rendered file: LiteLLM resolves no references in a list."
            hint = "Only the daemon's user can read that file; to keep it out, name the value under a key instead."
            self._add(node, Severity.WARNING, "secret-in-list", message, path, hint)
        else:
            message = f"{_named(chosen)} is written out, because LiteLLM resolves no references in a list."
            self._add(node, Severity.NOTE, "reference-in-list", message, path)
        return Scalar(self._typed(text, chosen, node, path), node.place, plain=node.plain)

    def chosen(self, text: str, node: Scalar, path: Path_) -> Chosen | None:
        """The parts that count; None, with a finding, where a `${` starts no reference."""
        try:
            chosen = references.choose(references.parse(text), self._environ.get)
        except MalformedReferenceError as error:
            hint = "Write ${NAME} or ${NAME:-default}; $${ stands for a literal ${."
            self._add(node, Severity.ERROR, "reference-malformed", f"Not a reference: {error}.", path, hint)
            return None
        if chosen.defaulted:
            names = " and ".join(chosen.defaulted)
            self._add(node, Severity.NOTE, "reference-default", f"{names} is not set: the default is used.", path)
        name = references.litellm_reference(chosen.text(self._environ.get)) if chosen.is_literal else None
        if name is None:
            return chosen
        unset = () if name in self._environ else (name,)
        return Chosen((references.Reference(name),), unset)

    def all_set(self, chosen: Chosen, node: Scalar, path: Path_, *, repairable: bool) -> bool:
        """Whether every variable is set, with a finding for each that is not.

        `repairable` says that LiteLLM itself will see the name, and can ask its vault for it.
        """
        for name in chosen.unset:
            if repairable and self._vault.may_know(name):
                message = f"{name} is not in the environment; LiteLLM will ask its key management for it."
                self._add(node, Severity.NOTE, "reference-in-vault", message, path)
                continue
            hint = f"Set {name} in the environment, or in .env beside the configuration."
            if self._vault.may_know(name):
                hint = f"Only a whole value of a key is looked up in key management; otherwise set {name}."
            self._add(node, Severity.ERROR, "reference-unset", f"The variable {name} is not set.", path, hint)
        return not chosen.unset

    def _typed(self, text: str, chosen: Chosen, node: Scalar, path: Path_) -> Plain:
        """`text` as the type that belongs here; itself where that is a text."""
        kind = fields.kind_of(path)
        if kind in {fields.Kind.NUMBER, fields.Kind.COERCED}:
            value = read_scalar(text)
            return value if isinstance(value, int | float) and not isinstance(value, bool) else text
        own = isinstance(node.value, str) and references.litellm_reference(node.value) is not None
        secret = any(names_a_secret(name) for name in (*_names(chosen), *(str(step) for step in path[-1:])))
        if own or not node.plain or not text or kind is fields.Kind.TEXT or secret:
            return text
        return read_scalar(text)

    def _add(self, node: Scalar, severity: Severity, code: str, message: str, path: Path_, hint: str = "") -> None:
        self.findings.append(finding_at(node, severity, code, message, hint=hint, path=path))


def _names(chosen: Chosen) -> tuple[str, ...]:
    return tuple(part.name for part in chosen.parts if isinstance(part, references.Reference))


def _named(chosen: Chosen) -> str:
    return " and ".join(f"${{{name}}}" for name in dict.fromkeys(_names(chosen)))


def _kind(value: object) -> str:
    return "null" if value is None else "true or false" if isinstance(value, bool) else "a number"
