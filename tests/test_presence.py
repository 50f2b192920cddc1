from __future__ import annotations

from pathlib import Path

import pytest

from supervisor import presence

TOO_LONG = Path("x" * 300)
"""A name that the kernel refuses to look for: also root's, whom no directory is closed to."""


@pytest.mark.parametrize("ask", [presence.exists, presence.is_file, presence.is_directory])
def test_what_cannot_be_looked_for_is_not_there(ask):
    assert ask(TOO_LONG) is False


def test_what_can_be_is(tmp_path: Path):
    file = tmp_path / "file"
    file.touch()
    assert [presence.exists(file), presence.is_file(file), presence.is_directory(file)] == [True, True, False]
    assert [presence.exists(tmp_path), presence.is_file(tmp_path), presence.is_directory(tmp_path)] == [
        True,
        False,
        True,
    ]
