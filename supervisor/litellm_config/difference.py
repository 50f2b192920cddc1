"""What differs between two generations, for a person, and with no secret in it. Pure.

The rendered texts are compared as LiteLLM will understand them. What stands under the name of a secret is replaced in
both, in such a way that a changed one still shows as a change; of the environment only names are told, also where the
value of a variable was written into a list.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from supervisor.litellm_config.excerpt import masked
from supervisor.litellm_config.expand import GENERATED
from supervisor.litellm_config.generation import Generation
from supervisor.litellm_config.references import OS_ENVIRON
from supervisor.litellm_config.render import as_yaml
from supervisor.secret_names import names_a_secret

MOST_LINES = 60
WIDEST = 200
SHORTEST = 8
"""Characters. A shorter value of a variable ("true", "8080") may stand in a list by chance."""

_CONTEXT = 2

Variables = Sequence[tuple[str, str]]


def difference(before: Generation, after: Generation, redact: Callable[[str], str]) -> tuple[str, ...]:
    """The lines of a unified diff, at most MOST_LINES; none where the two are the same.

    `redact` takes out the values that are known to be secret, wherever they stand.
    """
    if before.digest == after.digest:
        return ()
    seen: dict[str, int] = {}
    old, new = (_shown(each, seen) for each in (before, after))
    lines = list(difflib.unified_diff(old, new, before.digest, after.digest, n=_CONTEXT, lineterm=""))
    # What is known to be secret first, while it is still in one piece, then what only looks like it.
    shown = [_masked(redact(line))[:WIDEST] for line in lines[:MOST_LINES]]
    if len(lines) > MOST_LINES:
        shown.append(f"… and {len(lines) - MOST_LINES} more lines")
    return (*shown, *(line[:WIDEST] for line in _environment(before, after)))


def _shown(generation: Generation, seen: dict[str, int]) -> list[str]:
    comments = [line for line in generation.config_text.splitlines() if line.startswith("# module ")]
    document = yaml.load(generation.config_text, Loader=_LOADER)  # noqa: S506 - one of the two safe loaders
    return comments + as_yaml(_without_secrets(document, "", seen, _longest_first(generation.environment))).splitlines()


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _longest_first(environment: Mapping[str, str]) -> Variables:
    told = ((name, value) for name, value in environment.items() if len(value) >= SHORTEST)
    return sorted((each for each in told if not each[0].startswith(GENERATED)), key=lambda each: (-len(each[1]), each))


def _without_secrets(value: Any, name: str, seen: dict[str, int], variables: Variables) -> Any:
    """Everything below the name of a secret is one; the same secret gets the same number in both texts."""
    if isinstance(value, dict):
        return {
            key: _without_secrets(inner, str(key) if not names_a_secret(name) else name, seen, variables)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(_named(inner, variables), name, seen, variables) for inner in value]
    if value is None or not names_a_secret(name) or str(value).startswith(OS_ENVIRON):
        return value
    return f"*** ({seen.setdefault(str(value), len(seen) + 1)})"


def _named(element: Any, variables: Variables) -> Any:
    """A text in a list, with the variables again that were written out there."""
    if isinstance(element, str):
        for name, value in variables:
            element = element.replace(value, f"${{{name}}}")
    return element


def _masked(line: str) -> str:
    """A reference and a mark are no secrets, though they stand under the name of one."""
    return line if OS_ENVIRON in line or "***" in line else masked(line)


def _environment(before: Generation, after: Generation) -> list[str]:
    old, new = before.environment, after.environment
    told = (
        ("-", "set no longer", sorted(old.keys() - new.keys())),
        ("+", "newly set", sorted(new.keys() - old.keys())),
        ("!", "changed", sorted(name for name in old.keys() & new.keys() if old[name] != new[name])),
    )
    return [f"{mark} environment: {', '.join(names)} {what}" for mark, what, names in told if names]
