"""A YAML document that remembers where each of its nodes was written.

Owns the tree (`Scalar`, `ListNode`, `MapNode`), reading it from text, and turning it back into plain values. The tree
is immutable: whoever adapts it makes a new one, and the places of what was not touched stay. Knows nothing of LiteLLM.

What `yaml.safe_load` reads, this reads to the same values (aliases and merge keys included), with three exceptions
that are findings here: a key given twice, of which YAML silently keeps the last; a value that contains itself; and
the tags that no configuration needs.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from supervisor.errors import Finding, Severity
from supervisor.litellm_config.syntax import syntax_findings

Plain = str | int | float | bool | None | dt.date | dt.datetime
Path_ = tuple[str | int, ...]

# An alias may repeat a large part many times over; a document that unfolds past this is an accident or an attack.
MAX_NODES = 200_000

_MERGE = "tag:yaml.org,2002:merge"
_SCALARS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written; line and column count from 1."""

    file: Path
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value. `plain` means that it was written without quotes, so that YAML decided its type."""

    value: Plain = dataclasses.field(repr=False)
    place: Place
    plain: bool = True


@dataclass(frozen=True, slots=True)
class ListNode:
    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Entry:
    key: Scalar
    value: Node


@dataclass(frozen=True, slots=True)
class MapNode:
    entries: tuple[Entry, ...]
    place: Place

    def get(self, key: str) -> Node | None:
        return next((entry.value for entry in self.entries if entry.key.value == key), None)

    def key(self, key: str) -> Scalar | None:
        return next((entry.key for entry in self.entries if entry.key.value == key), None)

    def with_value(self, key: str, value: Node) -> MapNode:
        """The same mapping with this value, in the place of the old one or at the end."""
        if self.key(key) is None:
            return MapNode((*self.entries, Entry(Scalar(key, value.place), value)), self.place)
        kept = (Entry(entry.key, value) if entry.key.value == key else entry for entry in self.entries)
        return MapNode(tuple(kept), self.place)

    def without(self, key: str) -> MapNode:
        return MapNode(tuple(entry for entry in self.entries if entry.key.value != key), self.place)


Node = Scalar | ListNode | MapNode


def plain_value(node: Node) -> Any:
    """The node as plain Python values, as `yaml.safe_load` would give them."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, ListNode):
        return [plain_value(item) for item in node.items]
    return {entry.key.value: plain_value(entry.value) for entry in node.entries}


def path_text(path: Path_) -> str:
    """`("model_list", 0, "model_name")` as a person writes it: `model_list[0].model_name`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def scalars(node: Node, path: Path_ = ()) -> Iterator[tuple[Path_, Scalar]]:
    """Every value of the tree with its path, in the order of the file."""
    if isinstance(node, Scalar):
        yield path, node
    elif isinstance(node, ListNode):
        for index, item in enumerate(node.items):
            yield from scalars(item, (*path, index))
    else:
        for entry in node.entries:
            yield from scalars(entry.value, (*path, str(entry.key.value)))


def finding_at(
    node: Node | Place | None, severity: Severity, code: str, message: str, *, hint: str = "", path: Path_ = ()
) -> Finding:
    """A finding about this node, with its place filled in."""
    place = node if isinstance(node, Place) or node is None else node.place
    return Finding(
        severity,
        code,
        message,
        hint,
        file=place.file if place else None,
        line=place.line if place else None,
        column=place.column if place else None,
        path=path_text(path),
    )


def read_scalar(text: str) -> Plain:
    """What YAML reads an unquoted `text` as; the text itself where that is a string, a date, or not a value at all."""
    tag: str = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    if tag not in _SCALARS or tag.endswith((":str", ":timestamp")):
        return text
    try:
        return _construct(tag, text)
    except (ValueError, yaml.YAMLError):
        return text


def parse(text: str, file: Path) -> tuple[Node | None, tuple[Finding, ...]]:
    """The document in `text`, or None where it cannot be read, and what is wrong with it."""
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
    except yaml.YAMLError as error:
        return None, syntax_findings(error, text, file)
    except RecursionError:
        return None, (_too_deep(file),)
    if root is None:
        hint = "Start with `model_list:`; `litesup init` writes an example."
        return None, (Finding(Severity.ERROR, "file-empty", "The file holds no configuration.", hint, file=file),)
    reader = _Reader(file)
    try:
        node = reader.read(root, ())
    except _TooLargeError:
        message = "Its aliases unfold to an immense document."
        hint = "Write out what is repeated, or repeat less."
        finding = Finding(Severity.ERROR, "yaml-too-large", message, hint, file=file)
        return None, (*reader.findings, finding)
    except RecursionError:
        return None, (_too_deep(file),)
    return node, tuple(reader.findings)


def _too_deep(file: Path) -> Finding:
    message = "The document is nested too deeply."
    return Finding(Severity.ERROR, "yaml-too-deep", message, "Remove some of the levels.", file=file)


class _TooLargeError(Exception):
    pass


class _Reader:
    """From PyYAML's nodes to ours, collecting findings on the way."""

    def __init__(self, file: Path) -> None:
        self.findings: list[Finding] = []
        self._file = file
        self._open: set[int] = set()
        self._count = 0

    def read(self, node: yaml.Node, path: Path_) -> Node:
        self._count += 1
        if self._count > MAX_NODES:
            raise _TooLargeError
        place = self._place(node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            self._error(place, "yaml-recursive", "This value contains itself.", path, "Name another anchor.")
            return Scalar(None, place)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                self._check_tag(node, "seq", path)
                return ListNode(tuple(self.read(item, (*path, n)) for n, item in enumerate(node.value)), place)
            self._check_tag(node, "map", path)
            return self._mapping(node.value, place, path)
        finally:
            self._open.discard(id(node))

    def _scalar(self, node: yaml.ScalarNode, path: Path_) -> Scalar:
        place = self._place(node)
        if node.tag not in _SCALARS:
            self._error(place, "yaml-tag", f"The tag {node.tag} is not supported.", path, "Put the value in quotes.")
            return Scalar(None, place)
        try:
            value = _construct(node.tag, node.value)
        except (ValueError, yaml.YAMLError):
            kind = node.tag.rpartition(":")[2]
            self._error(place, "yaml-value", f"This looks like a value of type {kind}, but is none.", path, "Quote it.")
            return Scalar(None, place)
        return Scalar(value, place, plain=node.style is None)

    def _mapping(self, pairs: list[tuple[yaml.Node, yaml.Node]], place: Place, path: Path_) -> MapNode:
        """Keys of its own win over merged ones, and earlier merged ones over later, as in YAML 1.1."""
        own: dict[Hashable, Entry] = {}
        merged: dict[Hashable, Entry] = {}
        for key_node, value_node in pairs:
            if key_node.tag == _MERGE:
                for entry in self._merged(value_node, path):
                    merged.setdefault(_identity(entry.key), entry)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._error(
                    self._place(key_node), "yaml-key", "A key must be a single value.", path, "Put it in quotes."
                )
                continue
            key = self._scalar(key_node, path)
            entry = Entry(key, self.read(value_node, (*path, str(key.value))))
            first = own.get(_identity(key))
            if first is None:
                own[_identity(key)] = entry
            else:
                message = f"The key {key.value!r} was given already, on line {first.key.place.line}."
                hint = "Remove one of the two: only the last one would count."
                self._error(key.place, "duplicate-key", message, (*path, str(key.value)), hint)
        entries = {**{key: entry for key, entry in merged.items() if key not in own}, **own}
        return MapNode(tuple(entries.values()), place)

    def _merged(self, node: yaml.Node, path: Path_) -> Iterator[Entry]:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for part in parts:
            read = self.read(part, path) if isinstance(part, yaml.MappingNode) else None
            if isinstance(read, MapNode):
                yield from read.entries
            else:
                self._error(
                    self._place(part),
                    "yaml-merge",
                    "Only a mapping can be merged with `<<`.",
                    path,
                    "Write `<<: *NAME`.",
                )

    def _check_tag(self, node: yaml.Node, wanted: str, path: Path_) -> None:
        if node.tag != f"tag:yaml.org,2002:{wanted}":
            self._error(self._place(node), "yaml-tag", f"The tag {node.tag} is not supported.", path, "Remove the tag.")

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _error(self, place: Place, code: str, message: str, path: Path_, hint: str = "") -> None:
        self.findings.append(finding_at(place, Severity.ERROR, code, message, hint=hint, path=path))


def _construct(tag: str, text: str) -> Plain:
    """Called without `construct_object`, which would keep every node that it ever saw."""
    value: Plain = yaml.SafeLoader.yaml_constructors[tag](_CONSTRUCTOR, yaml.ScalarNode(tag, text))
    return value


def _identity(key: Scalar) -> Hashable:
    """True and 1 are equal in Python, and two keys in YAML; the strings "1" and 1 differ in both."""
    return (type(key.value), key.value)


_RESOLVER = yaml.resolver.Resolver()
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
