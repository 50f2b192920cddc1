"""Files that come with litesup and are not code: found in a checkout and in an installation alike."""

from __future__ import annotations

from pathlib import Path

import supervisor
from supervisor.errors import LitesupError


def asset(name: str) -> Path:
    """The file of this name ("config/demo.yaml"). Raises LitesupError where the installation left it out."""
    package = Path(supervisor.__file__).parent
    for place in (package / "assets" / name, package.parent / name):
        if place.is_file():
            return place
    raise LitesupError(f"{name} was not installed with litesup; take it from the source distribution")
