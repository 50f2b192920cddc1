"""The section `environment_variables`: moved out of the document into the replica's environment.

LiteLLM would apply it too late (references are resolved before) and too literally (`${NAME}` overwrites the real
variable with just that text). Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from supervisor.errors import Finding, Severity
from supervisor.litellm_config import environment, references
from supervisor.litellm_config.document import Entry, MapNode, Path_, Scalar, finding_at
from supervisor.litellm_config.expand import expand_text
from supervisor.litellm_config.vault import Vault

NAME = "environment_variables"

# LiteLLM refuses to take these from its configuration, and so does litesup: they decide what a process runs.
_BLOCKED = frozenset(
    {
        "DYLD_INSERT_LIBRARIES",
        "DYLD_LIBRARY_PATH",
        "HOME",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "LOGNAME",
        "NO_PROXY",
        "PATH",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "SHELL",
        "USER",
        "no_proxy",
    }
)


@dataclass(frozen=True, slots=True)
class Moved:
    """The document without the section (or with what only LiteLLM's key management can fill in), and its variables."""

    root: MapNode
    variables: Mapping[str, str]
    findings: tuple[Finding, ...]

    def __repr__(self) -> str:
        return f"Moved(variables={sorted(self.variables)}, findings={len(self.findings)})"


def move_out(root: MapNode, environ: Mapping[str, str], vault: Vault) -> Moved:
    """Takes the section out of `root`. Its values are resolved against `environ`, not against each other."""
    section = root.get(NAME)
    if not isinstance(section, MapNode):
        absent = section is None or (isinstance(section, Scalar) and section.value is None)
        return Moved(root.without(NAME) if absent else root, {}, ())
    variables: dict[str, str] = {}
    findings: list[Finding] = []
    left: list[Entry] = []
    for entry in section.entries:
        name = str(entry.key.value)
        path = (NAME, name)
        refusal = _refusal(name, entry, path)
        if refusal is not None or not isinstance(entry.value, Scalar):
            findings += [refusal] if refusal else []
            continue
        text, found = expand_text(entry.value, path, environ, vault)
        findings += found
        if text is not None:
            variables[name] = text
            findings.append(_remark(name, text, entry.value, environ, path))
        elif not any(finding.severity is Severity.ERROR for finding in found):
            left.append(Entry(entry.key, _for_vault(entry.value)))
    rest = root.with_value(NAME, MapNode(tuple(left), section.place)) if left else root.without(NAME)
    return Moved(rest, variables, tuple(findings))


def _refusal(name: str, entry: Entry, path: Path_) -> Finding | None:
    if name in _BLOCKED or environment.withheld(name):
        message = f"{name} cannot be set here, and is left out."
        hint = "Set it in the environment of litesup, if it is meant for LiteLLM at all."
        return finding_at(entry.key, Severity.WARNING, "environment-blocked", message, hint=hint, path=path)
    if not isinstance(entry.value, Scalar):
        message = f"{name} has to be a text."
        return finding_at(entry.value, Severity.ERROR, "wrong-type", message, hint="Write one value.", path=path)
    if entry.value.value is None:
        message = f"{name} has no value, and is left out."
        hint = 'Give it one, or "" if it should be empty.'
        return finding_at(entry.key, Severity.WARNING, "environment-empty", message, hint=hint, path=path)
    return None


def _remark(name: str, text: str, value: Scalar, environ: Mapping[str, str], path: Path_) -> Finding:
    if environ.get(name) == text:
        message = f"{name} is dropped: the environment has that value already."
    elif name in environ:
        message = f"{name} replaces the environment's own value in every replica, as LiteLLM would have it."
    else:
        message = f"{name} is moved into the environment of every replica."
    return finding_at(value, Severity.NOTE, "environment-moved", message, path=path)


def _for_vault(value: Scalar) -> Scalar:
    """`${NAME}` in LiteLLM's own words, for a name that its key management will be asked for."""
    part = references.parse(str(value.value))[0]
    if isinstance(part, references.Reference):
        return Scalar(references.OS_ENVIRON + part.name, value.place, plain=False)
    return value
