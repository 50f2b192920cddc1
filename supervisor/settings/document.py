"""A YAML mapping, and where in the file each of its values stands.

Knows YAML and nothing of settings. Keys that occur twice are errors: YAML's own rule, which the parser does not keep.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import yaml

from supervisor.errors import ConfigurationRefused, Finding, Severity

Place = tuple[str | int, ...]
DEEPEST = 20


@dataclass(frozen=True, slots=True)
class Document:
    """`values` as YAML reads them; `positions` are (line, column), from 1, of each key or list element."""

    values: dict[str, object]
    positions: dict[Place, tuple[int, int]] = dataclasses.field(repr=False)


def read_document(file: Path) -> Document:
    """Raises ConfigurationRefused for a file that is absent, unreadable, not YAML, or not a mapping."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _refused(file, "settings-encoding", f"is not UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise _refused(file, "settings-unreadable", f"cannot be read: {error.strerror or error}") from None
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        values = loader.construct_document(node) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"is not valid YAML: {error.problem or error.context}"
        raise _refused(file, "settings-syntax", message, mark) from None
    except (yaml.YAMLError, ValueError) as error:
        raise _refused(file, "settings-syntax", f"is not valid YAML: {str(error).splitlines()[0]}") from None
    finally:
        loader.dispose()
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise _refused(file, "settings-not-a-mapping", "should hold settings as `name: value` lines")
    positions: dict[Place, tuple[int, int]] = {}
    twice: list[Finding] = []
    if node is not None:
        _walk(node, (), positions, twice, file)
    if twice:
        raise ConfigurationRefused(twice)
    return Document({str(key): value for key, value in values.items()}, positions)


def _walk(
    node: yaml.Node, place: Place, positions: dict[Place, tuple[int, int]], twice: list[Finding], file: Path
) -> None:
    if len(place) > DEEPEST:
        return  # an alias may lead back to its own anchor
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            line, column = key.start_mark.line + 1, key.start_mark.column + 1
            if inner in positions and key.tag != "tag:yaml.org,2002:merge":
                message = f"{key.value} is set twice, first on line {positions[inner][0]}"
                path = ".".join(str(part) for part in inner)
                twice.append(
                    Finding(Severity.ERROR, "settings-twice", message, "Keep one of the two.", file, line, column, path)
                )
            positions[inner] = (line, column)
            _walk(value, inner, positions, twice, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, element in enumerate(node.value):
            positions[(*place, index)] = (element.start_mark.line + 1, element.start_mark.column + 1)
            _walk(element, (*place, index), positions, twice, file)


def _refused(file: Path, code: str, message: str, mark: yaml.Mark | None = None) -> ConfigurationRefused:
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (None, None)
    return ConfigurationRefused([Finding(Severity.ERROR, code, message, "", file, line, column)])
