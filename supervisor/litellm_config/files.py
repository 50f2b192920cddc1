"""Where the operator's files are read from: the disk, or what was kept of it when a generation was made.

A generation carries what it was made of, so that it can be made again later, in the environment of that time, whatever
has become of the files. Only what the operator wrote is carried: references as references, never what a variable held.
"""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from supervisor import presence

T = TypeVar("T")


class Files(Protocol):
    def text(self, file: Path) -> str:
        """Raises OSError, or UnicodeDecodeError for what is not UTF-8."""
        ...

    def content(self, file: Path) -> bytes:
        """Raises OSError."""
        ...

    def exists(self, file: Path) -> bool: ...

    def is_module(self, file: Path) -> bool: ...


class Disk:
    def text(self, file: Path) -> str:
        return file.read_text(encoding="utf-8")

    def content(self, file: Path) -> bytes:
        return file.read_bytes()

    def exists(self, file: Path) -> bool:
        return presence.exists(file)

    def is_module(self, file: Path) -> bool:
        return presence.is_file(file)


DISK = Disk()


@dataclass(frozen=True, slots=True)
class Written:
    """The configuration and its includes, and the modules that it names, as they were. Absolute paths."""

    texts: Mapping[Path, str] = dataclasses.field(default_factory=dict, repr=False)  # may hold what was typed into them
    modules: Mapping[Path, bytes] = dataclasses.field(default_factory=dict, repr=False)

    def text(self, file: Path) -> str:
        return _found(self.texts, file)

    def content(self, file: Path) -> bytes:
        return _found(self.modules, file)

    def exists(self, file: Path) -> bool:
        return file in self.texts

    def is_module(self, file: Path) -> bool:
        return file in self.modules


def _found(known: Mapping[Path, T], file: Path) -> T:
    try:
        return known[file]
    except KeyError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file)) from None
