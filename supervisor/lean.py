"""What the daemon need not keep in memory.

structlog loads rich where it finds it, to show tracebacks in colours, and LiteLLM brings rich along. The daemon's log
has its tracebacks as text, so that is 3 MB for nothing.
"""

from __future__ import annotations

import sys
from typing import Any


def load_structlog() -> None:
    """As where rich is not installed; who imports rich later finds it. Does nothing when either is loaded already."""
    loaded: dict[str, Any] = sys.modules
    if "rich" in loaded:
        return
    loaded["rich"] = None  # an import of it fails
    try:
        import structlog  # noqa: F401  loading it is the point
    finally:
        del loaded["rich"]
