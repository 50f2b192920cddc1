"""How a moment of the past is told to a person. Light to import: the command line shows it too."""

from __future__ import annotations

import time


def moment(at: float) -> str:
    """Unix seconds in words: 2026-03-31 14:05:09 UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
