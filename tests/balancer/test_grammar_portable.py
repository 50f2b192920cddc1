"""What the grammar must not lean on, because some Python that litesup runs on does it wrong."""

from __future__ import annotations

import re

import pytest

from supervisor.balancer import grammar

PATTERNS = {name: value for name, value in vars(grammar).items() if isinstance(value, re.Pattern)}


@pytest.mark.parametrize("name", PATTERNS)
def test_no_group_is_matched_possessively(name: str) -> None:
    """Before Python 3.11.5 a group that begins to match and fails is taken for matched (python/cpython#106052)."""
    text = re.sub(rb"\[(?:\\.|[^\]\\])*\]", b"c", PATTERNS[name].pattern)  # a class may hold any of these signs
    assert re.search(rb"(?<!\\)\)(?:\*|\+|\?|\{[0-9,]*\})\+|\(\?>", text) is None
