"""Each file in `broken/` was written for one rule, and that rule finds it: `CODE--what-is-special.yaml`.

A comment `# here` marks the line that the finding names. Whatever else is said about the file is at most a note.
"""

import re
from pathlib import Path

import pytest

from supervisor.errors import Finding, Severity
from supervisor.litellm_config.build import examine
from supervisor.litellm_config.lint import Surroundings
from supervisor.litellm_config.prices import litellm_package, read_prices

FILES = sorted((Path(__file__).parent / "broken").glob("*.yaml"))
ENVIRON = dict.fromkeys(("OPENAI_API_KEY", "AZURE_API_KEY", "REDIS_PASSWORD"), "0123abcd" * 4)
ENVIRON["LITELLM_KEY"] = "sk-" + "0123abcd" * 4
PACKAGE = litellm_package()
AROUND = Surroundings(replicas=3, prices=read_prices(PACKAGE) if PACKAGE else None)
# What comes of the mistake itself, in another rule's words.
ALSO = {"unknown-provider": {"azure-not-a-deployment"}}


def code_of(file: Path) -> str:
    return file.stem.partition("--")[0]


def marked(file: Path) -> list[int]:
    lines = file.read_text().splitlines()
    return [number for number, line in enumerate(lines, 1) if re.search(r"# here$", line)]


def test_there_are_enough_of_them():
    assert len(FILES) >= 40


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_rule_for_which_a_file_was_written_finds_it(file):
    generation, findings = examine(file, ENVIRON, AROUND)
    ours = [finding for finding in findings if finding.code == code_of(file)]
    said = "\n".join(map(str, findings))
    assert ours, said
    if marked(file):
        assert sorted({finding.line or 0 for finding in ours}) == marked(file), said
    others = {one.code for one in findings if one.severity is not Severity.NOTE} - {code_of(file)}
    assert others <= ALSO.get(code_of(file), set()), said
    assert all(next_step(finding) for finding in ours), said
    refused = any(finding.severity is Severity.ERROR for finding in findings)
    assert (generation is None) is refused


def next_step(finding: Finding) -> str:
    """The hint without the excerpt of the file."""
    return "" if re.match(r"\d+ \| ", finding.hint) else finding.hint


@pytest.mark.parametrize(
    "file", [file for file in FILES if code_of(file) == "literal-secret"], ids=lambda file: file.stem
)
def test_a_secret_in_the_file_is_named_and_never_shown(file):
    _, findings = examine(file, ENVIRON, AROUND)
    said = "\n".join(map(str, findings))
    assert "literal-secret" in said
    assert "0123456789abcdef" not in said
    assert "hunter2" not in said
