from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor.litellm_config import environment, installed
from supervisor.litellm_config.build import build_generation

KEY = {"LITELLM_MASTER_KEY": "sk-0f1e2d3c4b5a69788796a5b4"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "litellm.config.yaml"
    file.write_text("model_list: []\n")
    return file


def distribution(folder: Path, version: str) -> Path:
    metadata = folder / f"litesup_probe-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: litesup-probe\nVersion: {version}\n")
    return metadata


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "packages"
    distribution(folder, "1.0")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(installed, "DISTRIBUTION", "litesup-probe")
    return folder


def test_it_says_version_and_place(packages: Path):
    version, _, place = installed.installed().split(" ", 2)
    assert (version, place) == ("1.0", str(packages / "litesup_probe-1.0.dist-info"))


def test_another_version_and_the_same_one_installed_anew_are_each_another_generation(packages: Path, config: Path):
    digests = [build_generation(config, KEY, None).digest, build_generation(config, KEY, None).digest]
    (packages / "litesup_probe-1.0.dist-info" / "METADATA").unlink()
    (packages / "litesup_probe-1.0.dist-info").rmdir()
    upgraded = distribution(packages, "1.1")
    os.utime(packages, ns=(1, 1))  # a clock that is coarser than this test
    generation = build_generation(config, KEY, None)
    assert installed.version_of(generation.environment) == "1.1"
    os.utime(upgraded, ns=(1, 1))
    digests += [generation.digest, build_generation(config, KEY, None).digest]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_without_one_nothing_is_said(monkeypatch: pytest.MonkeyPatch, config: Path):
    monkeypatch.setattr(installed, "DISTRIBUTION", "litesup-not-installed")
    assert installed.installed() == ""
    assert installed.version_of(build_generation(config, KEY, None).environment) == "unknown"


def test_nobody_can_say_it_from_outside(config: Path):
    generation = build_generation(config, KEY | {environment.LITELLM: "9.9 0 /"}, None)
    assert installed.version_of(generation.environment) != "9.9"
