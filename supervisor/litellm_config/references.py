"""The grammar of references: `${NAME}`, `${NAME:-default}`, and LiteLLM's own `os.environ/NAME`.

Pure text. As in a shell, a default counts where the variable is unset or empty, and may hold references itself. `$${`
stands for a literal `${`; any other `$` is itself, so that a password with dollar signs needs no care.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

OS_ENVIRON = "os.environ/"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Reference:
    name: str
    default: Template | None = None


Template = tuple[str | Reference, ...]


class MalformedReferenceError(ValueError):
    """A `${` that starts no reference. The text says why, without quoting the value."""


def parse(text: str) -> Template:
    """The parts of `text`; adjacent literals are one. Raises MalformedReferenceError."""
    template, _ = _parse(text, 0, nested=False)
    return template


def _parse(text: str, at: int, *, nested: bool) -> tuple[Template, int]:
    parts: list[str | Reference] = []
    literal = ""
    while at < len(text):
        if text.startswith("$${", at):
            literal += "${"
            at += 3
        elif text.startswith("${", at):
            if literal:
                parts.append(literal)
                literal = ""
            reference, at = _reference(text, at)
            parts.append(reference)
        elif nested and text[at] == "}":
            break
        else:
            literal += text[at]
            at += 1
    if literal:
        parts.append(literal)
    return tuple(parts), at


def _reference(text: str, at: int) -> tuple[Reference, int]:
    name = _NAME.match(text, at + 2)
    if name is None:
        raise MalformedReferenceError("`${` is not followed by the name of a variable")
    end = name.end()
    if text.startswith("}", end):
        return Reference(name[0]), end + 1
    if not text.startswith(":-", end):
        raise MalformedReferenceError(f"after `${{{name[0]}` only `}}` or `:-default}}` may follow")
    default, end = _parse(text, end + 2, nested=True)
    if end >= len(text):
        raise MalformedReferenceError(f"`${{{name[0]}` has no closing `}}`")
    return Reference(name[0], default), end + 1


def text_of(template: Template) -> str:
    """The text that parses to `template`."""
    return "".join(part.replace("${", "$${") if isinstance(part, str) else _text_of(part) for part in template)


def _text_of(reference: Reference) -> str:
    if reference.default is None:
        return f"${{{reference.name}}}"
    return f"${{{reference.name}:-{text_of(reference.default)}}}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a template comes to: the parts that count, each a literal or a variable to read.

    `unset` names variables that are missing, `defaulted` those whose default stepped in.
    """

    parts: tuple[str | Reference, ...]
    unset: tuple[str, ...]
    defaulted: tuple[str, ...] = ()

    @property
    def whole(self) -> str | None:
        """The variable's name, if it is the entire value."""
        only = self.parts[0] if len(self.parts) == 1 else None
        return only.name if isinstance(only, Reference) else None

    @property
    def is_literal(self) -> bool:
        return all(isinstance(part, str) for part in self.parts)

    def text(self, lookup: Callable[[str], str | None]) -> str:
        return "".join(part if isinstance(part, str) else lookup(part.name) or "" for part in self.parts)


def choose(template: Template, lookup: Callable[[str], str | None]) -> Chosen:
    """Settles every default: what is set stays a reference, what is not becomes its default or is named in `unset`."""
    defaulted: list[str] = []
    parts = tuple(_chosen(template, lookup, defaulted))
    unset = tuple(part.name for part in parts if isinstance(part, Reference) and lookup(part.name) is None)
    return Chosen(parts, tuple(dict.fromkeys(unset)), tuple(dict.fromkeys(defaulted)))


def _chosen(template: Template, lookup: Callable[[str], str | None], defaulted: list[str]) -> Iterator[str | Reference]:
    for part in template:
        if isinstance(part, str):
            yield part
        elif part.default is not None and not lookup(part.name):
            defaulted.append(part.name)
            yield from _chosen(part.default, lookup, defaulted)
        else:
            yield Reference(part.name)


def litellm_reference(text: str) -> str | None:
    """The name in a whole-value `os.environ/NAME`; None for anything else, its `oidc/…` schemes included."""
    if not text.startswith(OS_ENVIRON):
        return None
    name = text.replace(OS_ENVIRON, "")  # as LiteLLM strips it
    return None if name.startswith("oidc/") else name
