"""The name that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection

CLOSE = 0.8
"""How alike two names have to be: `api_bse` and `api_base` are, `top_k` and `top_p` are not."""


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that `name` is a misspelling of, if it is one."""
    plain = name.lower().replace("-", "_")
    if plain != name and plain in known:
        return plain
    # Two names that differ by a whole word are two names: `disable_x` is no misspelling of `enable_x`.
    near = difflib.get_close_matches(plain, known, n=1, cutoff=CLOSE)
    if not near or (len(near[0].split("_")) == len(plain.split("_")) and _differ_in_meaning(plain, near[0])):
        return None
    return near[0]


def did_you_mean(name: str, known: Collection[str]) -> str:
    """A hint; empty where no known name is near."""
    near = nearest(name, known)
    return f"Did you mean `{near}`?" if near else ""


def _differ_in_meaning(one: str, other: str) -> bool:
    words = [(a, b) for a, b in zip(one.split("_"), other.split("_"), strict=True) if a != b]
    return any(difflib.SequenceMatcher(None, a, b).ratio() < 0.6 for a, b in words)
