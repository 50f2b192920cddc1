"""The rendered configuration on disk, where LiteLLM reads it.

A generation gets a directory of its own below the one given, because LiteLLM looks for modules beside its file. The
file is not writable, because some of LiteLLM's management endpoints would write resolved secrets into it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from supervisor.litellm_config.generation import Generation
from supervisor.litellm_config.modules import stand_ins

_PREFIX = "litellm-"
_FILE = "config.yaml"
_UNFINISHED = f".{_PREFIX}"


def write_rendered(generation: Generation, directory: Path) -> Path:
    """The path of the file that LiteLLM is to read; written, whole or not at all, unless it is there already."""
    home = directory / f"{_PREFIX}{generation.digest}"
    file = home / _FILE
    text = generation.config_text.encode("utf-8", "surrogateescape")
    if _holds(file, text):
        return file
    unfinished = directory / f"{_UNFINISHED}{generation.digest}.{secrets.token_hex(4)}"
    try:
        unfinished.mkdir(mode=0o700)
        for place, code in stand_ins(generation.written.modules, generation.directory, home).items():
            _write(unfinished / place, code.encode())
        _write(unfinished / _FILE, text)
        if home.exists():
            shutil.rmtree(home)
        # Another writer of the same generation has written the same.
        with contextlib.suppress(OSError):
            unfinished.rename(home)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    if not _holds(file, text):
        raise OSError(f"{file} could not be written")
    return file


def remove_rendered(directory: Path, keep: frozenset[str]) -> None:
    """Removes every rendered configuration in `directory` but those with these digests, and unfinished ones."""
    for entry in directory.iterdir():
        name = entry.name
        rendered = name.startswith(_PREFIX) and name.removeprefix(_PREFIX) not in keep
        if (rendered or name.startswith(_UNFINISHED)) and entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)


def _holds(file: Path, text: bytes) -> bool:
    try:
        return file.read_bytes() == text
    except FileNotFoundError:
        return False


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
