"""The codemap of ARCHITECTURE.md is one of this tree."""

from __future__ import annotations

import re
from pathlib import Path

from tests.daemon import ROOT

IN_GROUPS = ("supervisor/cli", "supervisor/litellm_config/lint", "supervisor/fleet/launch/preload")
"""Told of as a whole."""


def test_every_module_is_in_the_codemap():
    named = {name.strip("/").rpartition("/")[2] for name in re.findall(r"`([a-z_/]+)`", _codemap())}
    modules = [path.relative_to(ROOT) for path in (ROOT / "supervisor").rglob("*.py") if not _needs_no_name(path)]
    assert sorted(str(module) for module in modules if module.stem not in named) == []


def _needs_no_name(path: Path) -> bool:
    inside = path.relative_to(ROOT).parent.as_posix()
    return path.stem.startswith("__") or inside.startswith(IN_GROUPS)


def _codemap() -> str:
    return (ROOT / "ARCHITECTURE.md").read_text().partition("## Codemap")[2].partition("\n## ")[0]
