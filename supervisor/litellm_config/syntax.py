"""What is wrong with a text that is not YAML: every mistake that can be told apart.

A YAML parser stops at the first one. The sections of a configuration begin at the left margin, and the elements of a
section's list at the same column, so each can be read by itself: what is wrong in it is then wrong there, and not a
consequence of what came before. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import yaml

from supervisor.errors import Finding, Severity

_NEXT_STEPS = {
    "found character '\\t'": "Indent with spaces; YAML allows no tab there.",
    "mapping values are not allowed here": "Put the value in quotes, or correct the indentation of this line.",
    "could not find expected ':'": "Every line of a mapping is `name: value`, with a blank after the colon.",
    "expected <block end>": "This line is indented differently from the lines that it belongs to.",
    "found unexpected end of stream": "A quote or bracket that was opened is not closed.",
    "expected ',' or": "Between braces or brackets, a value with braces or brackets of its own needs quotes.",
    "found undefined alias": "Put the value in quotes; a leading * refers to an anchor.",
    "expected a single document": "Remove the `---` line and what follows it.",
}
_OTHERWISE = "Compare indentation, quotes and colons with the lines before."
_SECTION = re.compile(r"[^\s#\-\]}].*:(\s|$)")
_ELEMENT = re.compile(r"( *)- ")


def syntax_findings(error: yaml.YAMLError, text: str, file: Path) -> tuple[Finding, ...]:
    """`error`, with which reading the whole text ended, or what was found in its parts."""
    lines = text.splitlines(keepends=True)
    found = () if isinstance(error, yaml.reader.ReaderError) else tuple(_in_sections(lines, file))
    return found or (_finding(error, text, file),)


def _in_sections(lines: list[str], file: Path) -> Iterator[Finding]:
    starts = [number for number, line in enumerate(lines) if _SECTION.match(line)]
    for start, end in pairwise([*starts, len(lines)]):
        whole = _read(lines, start, end, file)
        if whole is not None:
            yield from tuple(_in_elements(lines, start, end, file)) or (whole,)


def _in_elements(lines: list[str], start: int, end: int, file: Path) -> Iterator[Finding]:
    first = next((match for line in lines[start:end] if (match := _ELEMENT.match(line))), None)
    if first is None:
        return
    starts = [number for number in range(start, end) if lines[number].startswith(f"{first[1]}- ")]
    for begin, stop in pairwise([*starts, end]):
        finding = _read(lines, begin, stop, file)
        if finding is not None:
            yield finding


def _read(lines: list[str], start: int, end: int, file: Path) -> Finding | None:
    """What is wrong with these lines; the empty ones before them keep the numbers right."""
    text = "\n" * start + "".join(lines[start:end])
    try:
        yaml.SafeLoader(text).get_single_node()
    except yaml.YAMLError as error:
        # An anchor may well stand in another part.
        elsewhere = str(getattr(error, "problem", "")).startswith("found undefined alias")
        return None if elsewhere else _finding(error, text, file)
    except RecursionError:
        return None
    return None


def _finding(error: yaml.YAMLError, text: str, file: Path) -> Finding:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        message = f"A character that YAML does not allow (code {error.character})."
        return Finding(Severity.ERROR, "yaml-syntax", message, "Remove it.", file=file, line=line)
    problem = str(getattr(error, "problem", None) or "cannot be read")
    context = getattr(error, "context", None)
    marks = [getattr(error, name, None) for name in ("problem_mark", "context_mark")]
    if problem.startswith("found unexpected end of stream"):
        marks.reverse()  # where it was opened says more than where the text ends
    mark = next((mark for mark in marks if mark is not None), None)
    hint = next((step for start, step in _NEXT_STEPS.items() if problem.startswith(start)), _OTHERWISE)
    message = f"This is not YAML: {problem}{f', {context}' if context else ''}."
    at = (mark.line + 1, mark.column + 1) if mark is not None else (None, None)
    return Finding(Severity.ERROR, "yaml-syntax", message, hint, file, *at)
