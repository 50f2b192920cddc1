"""docs/checks.md: every finding has its section, every example is one, and what is there is what would be written."""

import ast
import re
from pathlib import Path

import pytest

from supervisor.litellm_config.build import examine
from supervisor.litellm_config.lint import RULES, Surroundings
from supervisor.litellm_config.lint.codes import all_codes, code_named
from supervisor.litellm_config.lint.page import page, section
from supervisor.litellm_config.prices import litellm_package, read_prices

ROOT = Path(__file__).parents[2]
CODES = [code for codes in all_codes().values() for code in codes]
PACKAGE = litellm_package()
AROUND = Surroundings(replicas=3, prices=read_prices(PACKAGE) if PACKAGE else None)
# Modules that make findings also hold these words.
NO_CODES = {"is-instance", "sk-placeholder-that-no-replica-is-started-with", "utf-8"}
_MAKES = re.compile(r"\b(Finding|finding_at|Objection)\(")
_CODE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")


def codes_in_the_source() -> dict[str, str]:
    """Every word of a code's form in a module that makes findings, with that module."""
    found: dict[str, str] = {}
    for file in sorted((ROOT / "supervisor").rglob("*.py")):
        text = file.read_text()
        if not _MAKES.search(text):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _CODE.fullmatch(node.value):
                found.setdefault(node.value, file.name)
    return found


def test_every_finding_in_the_source_has_a_section():
    known = {code.code for code in CODES}
    without = {code: file for code, file in codes_in_the_source().items() if code not in known | NO_CODES}
    assert not without, f"describe them in supervisor/litellm_config/lint/codes_*.py: {without}"


def test_no_section_is_about_a_finding_that_nobody_makes():
    made = codes_in_the_source().keys() | RULES.keys()
    assert {code.code for code in CODES} <= made


def test_a_code_has_one_section():
    names = [code.code for code in CODES]
    assert len(names) == len(set(names))


def test_the_page_is_the_one_that_the_codes_make():
    stale = "run: python -m supervisor.litellm_config.lint.page"
    assert (ROOT / "docs" / "checks.md").read_text(encoding="utf-8") == page(), stale


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.code)
def test_every_section_says_what_it_is_and_what_to_do(code):
    assert code.summary.endswith(".")
    assert code.step
    assert section(code).startswith(f"### {code.code}\n")
    assert code_named(code.code) == code


@pytest.mark.parametrize("code", [code for code in CODES if code.example], ids=lambda code: code.code)
def test_every_example_is_one(code, tmp_path):
    file = tmp_path / "litellm.config.yaml"
    file.write_text(code.example)
    _, findings = examine(file, {"KEY": "0123abcd" * 4}, AROUND)
    assert code.code in {finding.code for finding in findings}, "\n".join(map(str, findings))


def test_every_rule_has_an_example_unless_it_looks_at_the_machine():
    without = {code for code, rule in RULES.items() if not rule.example}
    assert without == {"port-taken", "memory-short", "python-unoptimised", "litellm-uncompiled"}
    assert all(rule.why for rule in RULES.values())
