"""The locked environment is what pyproject.toml asks for, and can be installed from wherever a machine gets packages."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
REQUIREMENTS = [
    Requirement(text)
    for text in (
        *PROJECT["project"]["dependencies"],
        *PROJECT["dependency-groups"]["dev"],
        *PROJECT["build-system"]["requires"],
    )
]


def locked() -> dict[str, set[Version]]:
    """The locked versions of each package; more than one where they depend on the Python version."""
    found: dict[str, set[Version]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", LOCK, re.MULTILINE):
        found.setdefault(canonicalize_name(name), set()).add(Version(version))
    return found


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_every_requirement_is_locked_to_a_version_that_it_allows(requirement: Requirement):
    versions = locked().get(canonicalize_name(requirement.name))
    assert versions, "run `make lock`"
    assert all(requirement.specifier.contains(version) for version in versions)


def test_the_lock_names_no_index_and_no_address():
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|^-e |\bfile:|@ ", LOCK, re.MULTILINE)


def test_the_lock_of_the_node_packages_names_no_address_and_has_hashes():
    packages = json.loads((ROOT / "tests" / "sdk" / "package-lock.json").read_text())["packages"]
    installed = {name: package for name, package in packages.items() if name}
    assert "node_modules/openai" in installed
    assert all(package["integrity"].startswith("sha512-") for package in installed.values())
    assert not any("resolved" in package for package in installed.values()), "tests/sdk/.npmrc keeps them out"


def test_every_locked_package_has_hashes():
    blocks = re.split(r"^(?=[A-Za-z0-9])", LOCK, flags=re.MULTILINE)
    without = [block.splitlines()[0] for block in blocks if "==" in block and "--hash=sha256:" not in block]
    assert not without


def test_the_compromised_releases_of_litellm_are_excluded():
    litellm = next(requirement for requirement in REQUIREMENTS if requirement.name == "litellm")
    assert litellm.extras == {"proxy"}
    # The lower bound alone would do for the old ones; the names stay where the next reader looks for them.
    assert litellm.specifier & SpecifierSet("!=1.82.7,!=1.82.8,!=1.107.0") == litellm.specifier


def test_what_is_shipped_beside_the_code_is_inside_the_package():
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["supervisor"]
    assert (ROOT / "supervisor" / "py.typed").exists()
