"""What every test may use, and the marks that follow from where a test lies."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MARKS = {"e2e": "e2e", "integration": "integration", "faults": "integration"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(TESTS):
            kind = item.path.relative_to(TESTS).parts[0]
            if kind in MARKS:
                item.add_marker(MARKS[kind])


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A fresh directory whose path leaves room for the names of unix sockets (107 bytes in all); tmp_path may not."""
    path = Path(tempfile.mkdtemp(prefix="ls-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
