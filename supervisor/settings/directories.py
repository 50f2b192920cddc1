"""Where a daemon keeps what lives as long as it runs, and what stays: the rules, and the check before first use.

The rules are pure, and know nothing of the schema, so that commands which only look for a daemon stay quick.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from supervisor.errors import LitesupError

SOCKET_PATH_LIMIT = 107
"""Bytes of a unix socket's path, Linux `sun_path` less its final zero."""

_SIGNS = frozenset({"daemon.lock", "master-key", "history"})
"""A directory with one of these in it is litesup's own."""

LONGEST_SOCKET_NAME = 24
"""Bytes kept free for the names of the sockets in the runtime directory."""


def choose_runtime_dir(configured: Path | None, environ: Mapping[str, str], uid: int) -> Path:
    """The directory of the control socket, the replicas' sockets and the rendered configuration.

    Without anything said, root's is the one that systemd makes for the unit, so that `sudo litesup status` finds the
    service.
    """
    if configured is not None:
        return configured.absolute()
    if given := _first(environ.get("RUNTIME_DIRECTORY")):
        return given
    if (given := _first(environ.get("XDG_RUNTIME_DIR"))) and given.is_absolute():
        return given / "litesup"
    return Path("/run/litesup") if uid == 0 else Path(f"/tmp/litesup-{uid}")  # noqa: S108 - its owner is checked before use


def choose_state_dir(configured: Path | None, environ: Mapping[str, str], uid: int) -> Path:
    """The directory of what outlives the daemon: the made master key, the usage store."""
    if configured is not None:
        return configured.absolute()
    if given := _first(environ.get("STATE_DIRECTORY")):
        return given
    if (given := _first(environ.get("XDG_STATE_HOME"))) and given.is_absolute():
        return given / "litesup"
    if uid == 0:
        return Path("/var/lib/litesup")
    home = environ.get("HOME", "")
    if home.startswith("/"):
        return Path(home) / ".local/state/litesup"
    return Path(f"/var/tmp/litesup-{uid}")  # noqa: S108 - as above


def _first(value: str | None) -> Path | None:
    """systemd joins several directories of one unit with colons; the first is the unit's main one."""
    head = (value or "").split(":", 1)[0]
    return Path(head) if head else None


def prepare_directory(path: Path, *, sockets: bool = True) -> Path:
    """Makes the directory if it is missing, and private (0700) in any case; returns it.

    Raises LitesupError when it belongs to another user, is no directory, cannot be made, is one that others use as well
    (/tmp, say), or, with `sockets`, is too long for the sockets that it is to hold.
    """
    length, longest = len(os.fsencode(path)), SOCKET_PATH_LIMIT - 1 - LONGEST_SOCKET_NAME
    if sockets and length > longest:
        raise LitesupError(
            f"{path} is {length} bytes long; a directory for sockets may have {longest}, because a socket's path is "
            f"limited to {SOCKET_PATH_LIMIT} bytes. Choose a shorter one with --runtime-dir or runtime_dir."
        )
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A link in a directory that everybody can write to may be another user's, leading to a directory of ours.
        for seen in (path.lstat(), path.stat()):
            if seen.st_uid not in (os.geteuid(), 0 if stat.S_ISLNK(seen.st_mode) else os.geteuid()):
                raise LitesupError(
                    f"{path} belongs to another user (uid {seen.st_uid}). Remove it, or choose another directory "
                    "with --runtime-dir or --state-dir."
                )
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            if _is_somebody_elses_too(path):
                raise LitesupError(
                    f"{path} is open to other users and holds files that are not litesup's, so it is not made private. "
                    f"Name a directory of litesup's own, such as {path / 'litesup'}, or: chmod 700 {path}"
                )
            path.chmod(0o700)
    except OSError as error:
        raise LitesupError(f"cannot use {path} as a directory: {error.strerror or error}") from None
    return path


def _is_somebody_elses_too(path: Path) -> bool:
    names = {entry.name for entry in path.iterdir()}
    return bool(names) and names.isdisjoint(_SIGNS)
