"""Whether something is there, as far as this user can see.

`Path.exists` and its like raise where a directory on the way may not be entered. An operator meets that soon: `sudo -u
USER` keeps the working directory, which may be a home that is closed to others.
"""

from __future__ import annotations

from pathlib import Path


def exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
