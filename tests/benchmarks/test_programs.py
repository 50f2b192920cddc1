"""What is read before the first round, so that no side reads it for the others."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from benchmarks.programs import read_programs


def test_every_file_is_read_to_its_end_whatever_its_size(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "large.so").write_bytes(b"x" * (3 * 2**20 + 7))
    (tmp_path / "inner" / "small.pyc").write_bytes(b"y" * 5)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert read_programs([tmp_path]) == 3 * 2**20 + 12


def test_another_environments_packages_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    for inner in ("json", "site-packages", "test"):
        (tmp_path / inner).mkdir()
        (tmp_path / inner / "file.pyc").write_bytes(b"1234")
    assert read_programs([tmp_path]) == 4
