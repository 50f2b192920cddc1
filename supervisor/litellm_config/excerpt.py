"""The line that a finding is about, with a caret under the place.

A line of configuration may hold a secret that was typed into it, so what could be one is masked before the line is
shown; the columns stay.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from supervisor.errors import Finding, Severity
from supervisor.secret_names import names_a_secret

_MAX_WIDTH = 120
_MAX_LOOKED_AT = 10 * _MAX_WIDTH  # more than is shown, so that no secret is cut before it is masked
_NAME = re.compile(
    r"(api|access|master|private|signing|encryption|salt|license)[_-]?key|secret|token(?!s|izer)|passw|passphrase|"
    r"credential|connection_?string|database_?url|redis_?url|(^|[_-])(key|dsn|pass|pwd|sas)$|authorization|webhook|"
    r"cookie|-auth$",
    re.IGNORECASE,
)
_NAME = re.compile(r"""(?P<name>[\w.-]+)["']?\s*[:=]\s*(?=\S)""")
_SHAPED = re.compile(r"sk-[\w-]+|[A-Za-z0-9+/_=-]{24,}|(?<=://)[^/@\s]+@")
_REFERENCE = re.compile(r"""^["']?(\$\{|os\.environ/)""")


def masked(line: str) -> str:
    """`line` with what may be a secret replaced by as many asterisks; references name a secret, and stay."""
    for named in _NAME.finditer(line):
        start = named.end()
        if names_a_secret(named["name"]) and not _REFERENCE.match(line[start:]):
            return line[:start] + "*" * (len(line) - start)
    return _SHAPED.sub(lambda match: "*" * len(match[0]), line)


def with_excerpt(finding: Finding, sources: Mapping[Path, str]) -> Finding:
    """The finding with its line appended to the hint; itself where it is no error or its line is not known."""
    if finding.severity is not Severity.ERROR or finding.file is None or finding.line is None:
        return finding
    lines = sources.get(finding.file, "").splitlines()
    if not 0 < finding.line <= len(lines):
        return finding
    number = f"{finding.line} | "
    shown = masked(lines[finding.line - 1][:_MAX_LOOKED_AT].replace("\t", " "))[:_MAX_WIDTH]
    parts = [finding.hint] if finding.hint else []
    parts.append(number + shown)
    if finding.column is not None and finding.column <= _MAX_WIDTH:
        parts.append(" " * (len(number) + finding.column - 1) + "^")
    return dataclasses.replace(finding, hint="\n    ".join(parts))
