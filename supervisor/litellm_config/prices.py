"""LiteLLM's price map, read from the installed package without importing it.

It says what a model costs and what it is for. The names are LiteLLM's own: `azure/gpt-4o`, `gpt-4o`.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_FILE = "model_prices_and_context_window_backup.json"


@dataclass(frozen=True, slots=True)
class Prices:
    """What the price map knows: the mode of each model ("chat", "embedding"), empty where it says none."""

    modes: Mapping[str, str] = field(repr=False)

    def name_of(self, model: str, provider: str = "") -> str | None:
        """The name under which the map has this model."""
        candidates = (f"{provider}/{model}", model) if provider else (model,)
        return next((name for name in candidates if name in self.modes), None)


def litellm_package() -> Path | None:
    """The directory of the installed LiteLLM, which this does not import; None where there is none."""
    try:
        spec = importlib.util.find_spec("litellm")
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def read_prices(package: Path) -> Prices | None:
    """The map in this package; None where it cannot be read."""
    try:
        document = json.loads((package / _FILE).read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(document, dict):
        return None
    return Prices({name: str(entry.get("mode") or "") for name, entry in document.items() if isinstance(entry, dict)})
