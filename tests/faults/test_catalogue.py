"""The catalogue and everything that it names are there: tests, protections, the page."""

from __future__ import annotations

import ast
import importlib
from functools import reduce
from pathlib import Path

import pytest

from tests.daemon import ROOT
from tests.faults.catalogue import FAULTS
from tests.faults.fault import Fault
from tests.faults.page import page
from tests.faults.without import REMOVALS

HERE = Path(__file__).parent


def names_of_tests(folder: Path) -> set[str]:
    """As `file::function`."""
    found = set()
    for file in folder.glob("test_*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, (ast.AsyncFunctionDef, ast.FunctionDef)) and node.name.startswith("test_"):
                found.add(f"{file.name}::{node.name}")
    return found


def test_there_are_forty_faults_at_least_and_twelve_with_the_real_litellm():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 40
    assert len({fault.real for fault in FAULTS if fault.real}) >= 12


def test_every_fault_has_a_test_and_every_test_a_fault():
    here = {name for name in names_of_tests(HERE) if not name.startswith(Path(__file__).name)}
    assert {fault.test for fault in FAULTS} == here
    assert {fault.real for fault in FAULTS if fault.real} <= names_of_tests(ROOT / "tests" / "e2e")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_what_holds_a_fault_is_there(fault: Fault):
    module, _, attribute = fault.held_by.partition(":")
    assert reduce(getattr, attribute.split("."), importlib.import_module(f"supervisor.{module}"))


def test_what_can_be_taken_out_belongs_to_a_fault():
    assert REMOVALS.keys() <= {fault.name for fault in FAULTS}


def test_the_page_says_what_the_catalogue_says():
    assert (ROOT / "docs" / "faults.md").read_text() == page()
