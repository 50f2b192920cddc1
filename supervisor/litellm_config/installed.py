"""Which LiteLLM is installed: its version, where it is, and when it was put there. Imports nothing of it.

A replica's environment says it (`environment.LITELLM`), so that another LiteLLM makes another generation: what
`pip install -U` put under a running daemon is found by the next reload, and tried on one replica first.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

from supervisor.litellm_config import environment

DISTRIBUTION = "litellm"
UNKNOWN = "unknown"


def installed() -> str:
    """ "VERSION NANOSECONDS DIRECTORY", or "" where none is found. Blocks on files."""
    try:
        found = importlib.metadata.distribution(DISTRIBUTION)
        version = found.version
    except importlib.metadata.PackageNotFoundError:
        return ""
    # Where its metadata is; installing anew writes that anew, whatever the version.
    place = getattr(found, "_path", None)
    directory = Path(str(place if place is not None else found.locate_file("")))
    try:
        written = directory.stat().st_mtime_ns
    except OSError:
        written = 0
    return f"{version} {written} {directory}"


def version_of(replicas_environment: Mapping[str, str]) -> str:
    """The version that this environment was made for."""
    return replicas_environment.get(environment.LITELLM, "").partition(" ")[0] or UNKNOWN
