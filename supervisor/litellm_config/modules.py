"""The operator's own Python modules: callbacks, guardrails, custom auth and the like, and what these import.

LiteLLM looks for `module.attribute` beside the file that it was given, and otherwise imports the module by name. The
file that it is given lies in the runtime directory, so each module found beside the operator's file gets a stand-in
there: a file of the same name that runs the module's code, as it was when the generation was made, under its own
`__file__`, and makes the modules beside it importable. A replica that is restarted later thus still runs the code of
its generation, whatever has been saved meanwhile. (Importing by name would be too little: a package of that name in
site-packages would win, and the working directory is not on the path of every launcher.)

Which values name a module is not looked up in a list of settings: any text of that form for which such a file exists is
taken for one. A stand-in too many harms nothing. What a module imports is read from its syntax tree: nothing of it runs
here. An import that only running it would show (a name made at run time) is neither watched nor kept.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from supervisor import presence
from supervisor.litellm_config.document import Node, scalars
from supervisor.litellm_config.files import DISK, Files

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_PACKAGE = "__init__.py"

MOST_MODULES = 500
"""A callback that imports more from beside itself is an application; what lies beyond is not followed."""

_STAND_IN = """\
# Stands in for {path} because LiteLLM looks for it beside the rendered configuration.
import sys

__file__ = {path!r}
{package}\
sys.path += [place for place in {places!r} if place not in sys.path]
exec(compile({source!r}, __file__, "exec", dont_inherit=True), globals())
"""


@dataclass(slots=True)
class Modules:
    """`files` exist and belong to the configuration; `missing` would, if they did. All absolute, in order."""

    files: dict[Path, None] = field(default_factory=dict)
    missing: dict[Path, None] = field(default_factory=dict)

    @property
    def watched(self) -> tuple[Path, ...]:
        return (*self.files, *self.missing)


def find_modules(root: Node, directory: Path, files: Files = DISK) -> Modules:
    """The modules in `directory` that values of the document name, and those there that these import in turn."""
    found = Modules()
    for _, scalar in scalars(root):
        if isinstance(scalar.value, str) and _DOTTED.fullmatch(scalar.value):
            _look_for(scalar.value.split(".")[:-1], directory, found, files)
    waiting = deque(found.files)
    while waiting and len(found.files) < MOST_MODULES:
        known = len(found.files)
        for parts in sorted(_imports(waiting.popleft(), directory, files)):
            if _is_beside(parts[0], directory, files) or not _is_installed(parts[0]):
                _look_for(parts, directory, found, files)
        waiting.extend(tuple(found.files)[known:])
    return found


def _look_for(parts: Iterable[str], directory: Path, found: Modules, files: Files) -> None:
    """Notes the module of this dotted name, and the packages that importing it runs on the way."""
    place = directory
    for part in parts:
        if place != directory and files.is_module(package := place / _PACKAGE):
            found.files[package] = None
        place /= part
    for file in (place.with_name(f"{place.name}.py"), place / _PACKAGE):
        if files.is_module(file):
            found.files[file] = None
            return
    if not presence.is_directory(place):
        found.missing[place.with_name(f"{place.name}.py")] = None


def _imports(file: Path, directory: Path, files: Files) -> set[tuple[str, ...]]:
    """The dotted names that `file` may import from `directory`. What cannot be read or parsed imports nothing."""
    try:
        tree = ast.parse(files.content(file))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    within = file.parent.relative_to(directory).parts
    names: set[tuple[str, ...]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level <= len(within):
            base = within[: len(within) + 1 - node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            names |= set(_from(base, (alias.name for alias in node.names), directory, files))
    return {parts for parts in names if parts}


def _from(base: tuple[str, ...], names: Iterable[str], directory: Path, files: Files) -> Iterator[tuple[str, ...]]:
    """`from base import name`: base is a module; so is name, if such a file exists."""
    yield base
    for name in names:
        place = directory.joinpath(*base, name)
        if files.is_module(place.with_name(f"{name}.py")) or files.is_module(place / _PACKAGE):
            yield (*base, name)


def _is_beside(name: str, directory: Path, files: Files) -> bool:
    return files.is_module(directory / f"{name}.py") or presence.is_directory(directory / name)


def _is_installed(name: str) -> bool:
    """Whether a top-level module of this name would be found without the operator's directory. Imports nothing."""
    if name in sys.builtin_module_names or name in sys.stdlib_module_names:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def stand_ins(modules: Mapping[Path, bytes], directory: Path, home: Path) -> dict[Path, str]:
    """What to write below `home`, by relative path, in place of these files of `directory`.

    LiteLLM takes the first part of `package.attribute` for a file, so a package has one more, of that name.
    """
    texts: dict[Path, str] = {}
    packages: dict[Path, str] = {}
    for file, source in modules.items():
        inside = file.relative_to(directory)
        package = ""
        if inside.name == _PACKAGE and inside.parent != Path():
            package = f"__path__ = {[str(home / inside.parent), str(file.parent)]!r}\n"
            named = f"{package}__package__ = {'.'.join(inside.parent.parts)!r}\n"
            packages[inside.parent.with_suffix(".py")] = _stand_in(file, source, (home, directory), named)
        texts[inside] = _stand_in(file, source, (home, directory), package)
    return packages | texts


def _stand_in(file: Path, source: bytes, places: Iterable[Path], package: str) -> str:
    return _STAND_IN.format(path=str(file), places=[str(place) for place in places], source=source, package=package)
