"""`.env` beside the configuration: read, and never stronger than the real environment.

The grammar is python-dotenv's, which LiteLLM itself reads such a file with; references inside values are those of the
configuration.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from dotenv.parser import parse_stream

from supervisor.errors import Finding, Severity
from supervisor.litellm_config import references


def read(file: Path, environ: Mapping[str, str]) -> tuple[dict[str, str], tuple[Finding, ...]]:
    """The variables that `file` adds to `environ`. An absent file adds none; never raises for what it holds."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}, ()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return {}, (_finding(file, None, "env-file-unreadable", f"The file cannot be read: {reason}."),)
    except UnicodeDecodeError:
        return {}, (_finding(file, None, "env-file-unreadable", "The file is not UTF-8."),)
    added: dict[str, str] = {}
    findings: list[Finding] = []
    for binding in parse_stream(io.StringIO(text)):
        line = binding.original.line + _leading_newlines(binding.original.string)
        if binding.error:
            message = "This line is not NAME=value, and is left out."
            findings.append(_finding(file, line, "env-file-syntax", message, Severity.WARNING))
        elif binding.key is not None and binding.value is not None and binding.key not in environ:
            try:
                template = references.parse(binding.value)
            except references.MalformedReferenceError:
                # A password may hold anything; a .env file is not where `${` has to mean something.
                added[binding.key] = binding.value
                continue
            known = {**added, **environ}
            chosen = references.choose(template, known.get)
            for name in chosen.unset:
                message = f"{binding.key} refers to {name}, which is not set: nothing is put in its place."
                findings.append(_finding(file, line, "env-file-reference", message, Severity.WARNING))
            added[binding.key] = chosen.text(known.get)
    return added, tuple(findings)


def _leading_newlines(text: str) -> int:
    """python-dotenv counts blank lines as the beginning of what follows them."""
    return len(text) - len(text.lstrip("\n"))


def _finding(file: Path, line: int | None, code: str, message: str, severity: Severity = Severity.ERROR) -> Finding:
    hint = "Correct the line, or remove it." if line else "Correct the file's permissions or content, or remove it."
    return Finding(severity, code, message, hint, file=file, line=line)
