"""`include:` inlined, by LiteLLM's own rule.

Files are read breadth first, each next to the file that names it (or, as a fallback, next to the root), and each once.
Where two files hold the same top-level key, lists are joined and anything else is replaced by the included value. The
`include` keys themselves disappear. Reads files; decides nothing else.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from supervisor.errors import Finding, Severity
from supervisor.litellm_config.document import Entry, ListNode, MapNode, Place, Scalar, finding_at, parse
from supervisor.litellm_config.files import DISK, Files


@dataclass(slots=True)
class Loaded:
    """The merged document, None where the root could not be read, with what was read on the way."""

    root: MapNode | None = None
    findings: list[Finding] = field(default_factory=list)
    sources: dict[Path, str] = field(default_factory=dict, repr=False)
    watched: list[Path] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Wanted:
    name: str
    place: Place
    chain: tuple[Path, ...]  # the files that led here, the root first


def absolute(path: Path) -> Path:
    """Made absolute as LiteLLM does it: links are kept, because "beside the file" means beside the link."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - `Path.absolute` keeps `..`, `Path.resolve` follows links


def load(source: Path, files: Files = DISK) -> Loaded:
    """Reads `source` (absolute) and everything that it includes. Never raises for what the files hold."""
    loaded = Loaded()
    root = _read(source, loaded, None, files)
    if root is None:
        return loaded
    waiting = deque(_includes(root, (source,), loaded))
    merged = root.without("include")
    done = {source}
    while waiting:
        wanted = waiting.popleft()
        file = _resolve(wanted, source, loaded, files)
        if file in wanted.chain:
            message = f"{wanted.name} includes itself, directly or through another file."
            hint = "LiteLLM reads each file once, and so does litesup; remove this entry."
            loaded.findings.append(
                finding_at(wanted.place, Severity.WARNING, "include-cycle", message, hint=hint, path=("include",))
            )
        if file in done:
            continue
        done.add(file)
        included = _read(file, loaded, wanted, files)
        if included is not None:
            waiting.extend(_includes(included, (*wanted.chain, file), loaded))
            merged = _merge(merged, included.without("include"), loaded)
    loaded.root = merged
    return loaded


def _resolve(wanted: _Wanted, source: Path, loaded: Loaded, files: Files) -> Path:
    beside_it = absolute(wanted.chain[-1].parent / wanted.name)
    beside_root = absolute(source.parent / wanted.name)
    if beside_it == beside_root or files.exists(beside_it) or not files.exists(beside_root):
        return beside_it
    message = f"{wanted.name} does not lie beside the file that includes it; the one beside {source.name} is read."
    loaded.findings.append(
        finding_at(wanted.place, Severity.WARNING, "include-beside-root", message, hint="Move the file there.")
    )
    loaded.watched.append(beside_it)
    return beside_root


def _read(file: Path, loaded: Loaded, wanted: _Wanted | None, files: Files) -> MapNode | None:
    loaded.watched.append(file)
    place = wanted.place if wanted else None
    try:
        text = files.text(file)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        code, hint = ("include-unreadable", "Correct the path under `include`.") if wanted else ("file-unreadable", "")
        if isinstance(error, FileNotFoundError):
            hint = hint or "Name the configuration with --config FILE, or run this where litellm.config.yaml lies."
        finding = finding_at(place, Severity.ERROR, code, f"{file} cannot be read: {reason}.", hint=hint)
        loaded.findings.append(finding if wanted else Finding(finding.severity, code, finding.message, hint, file=file))
        return None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        finding = Finding(
            Severity.ERROR, "not-utf-8", "The file is not UTF-8.", "Save it as UTF-8.", file=file, line=line
        )
        loaded.findings.append(finding)
        return None
    loaded.sources[file] = text
    node, findings = parse(text, file)
    loaded.findings.extend(findings)
    if node is None:
        return None
    if not isinstance(node, MapNode):
        message = "The top level is not a mapping."
        hint = "Start with `model_list:`, and put everything else under its own name."
        loaded.findings.append(finding_at(node, Severity.ERROR, "top-level", message, hint=hint))
        return None
    return node


def _includes(document: MapNode, chain: tuple[Path, ...], loaded: Loaded) -> list[_Wanted]:
    node = document.get("include")
    if node is None:
        return []
    items = node.items if isinstance(node, ListNode) else (node,)
    names = [(item.value, item.place) for item in items if isinstance(item, Scalar) and isinstance(item.value, str)]
    if not isinstance(node, ListNode) or len(names) != len(items):
        message = "`include` is not a list of file names."
        hint = "Write one `- file.yaml` per line."
        loaded.findings.append(
            finding_at(node, Severity.ERROR, "include-not-a-list", message, hint=hint, path=("include",))
        )
        return []
    return [_Wanted(str(name), place, chain) for name, place in names]


def _merge(base: MapNode, included: MapNode, loaded: Loaded) -> MapNode:
    entries: list[Entry] = []
    for entry in base.entries:
        other = included.get(entry.key.value) if isinstance(entry.key.value, str) else None
        if other is None:
            entries.append(entry)
        elif isinstance(entry.value, ListNode) and isinstance(other, ListNode):
            entries.append(Entry(entry.key, ListNode((*entry.value.items, *other.items), entry.value.place)))
        else:
            name = str(entry.key.value)
            message = f"`{name}` replaces the whole `{name}` of {entry.key.place.file.name}: only lists are joined."
            key = included.key(name)
            loaded.findings.append(
                finding_at(
                    key, Severity.WARNING, "include-replaces", message, hint="Keep it in one file.", path=(name,)
                )
            )
            entries.append(Entry(entry.key, other))
    known = {entry.key.value for entry in base.entries}
    entries.extend(entry for entry in included.entries if entry.key.value not in known)
    return MapNode(tuple(entries), base.place)
