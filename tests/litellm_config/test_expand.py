"""What each kind of reference becomes, by where it stands and what it holds."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from supervisor.errors import Severity
from supervisor.litellm_config.document import MapNode, parse, plain_value
from supervisor.litellm_config.expand import Expanded, expand
from supervisor.litellm_config.vault import Vault, vault_of

NO_VAULT = Vault()
ENVIRON = {
    "TEXT": "hello",
    "NUMBER": "5",
    "FLOAT": "2.5",
    "YES": "true",
    "NULL_WORD": "null",
    "DATE": "2024-10-21",
    "API_KEY": "12345678",
    "EMPTY": "",
    "PORT": "9000",
    "HOST_PART": "example",
}


def tree(text: str) -> MapNode:
    node, findings = parse(text, Path("c.yaml"))
    assert isinstance(node, MapNode)
    assert not findings
    return node


def run(text: str, vault: Vault = NO_VAULT) -> tuple[Expanded, Any]:
    done = expand(tree(text), ENVIRON, vault)
    return done, plain_value(done.root)


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        ("${TEXT}", "os.environ/TEXT"),
        ("'${TEXT}'", "os.environ/TEXT"),
        ("os.environ/TEXT", "os.environ/TEXT"),
        ("${NUMBER}", 5),
        ("'${NUMBER}'", "os.environ/NUMBER"),
        ("${FLOAT}", 2.5),
        ("${YES}", True),
        ("${NULL_WORD}", None),
        ("${DATE}", "os.environ/DATE"),
        ("${NUMBER}0", 50),
        ("${API_KEY}", "os.environ/API_KEY"),
        ("${MISSING:-text}", "text"),
        ("${MISSING:-7}", 7),
        ("'${MISSING:-7}'", "7"),
        ("${EMPTY:-7}", 7),
        ("${TEXT:-other}", "os.environ/TEXT"),
        ("${MISSING:-${TEXT}}", "os.environ/TEXT"),
        ("${EMPTY}", "os.environ/EMPTY"),
        ("$${TEXT}", "${TEXT}"),
        ("pa$$word$", "pa$$word$"),
        ("$TEXT", "$TEXT"),
        ("plain", "plain"),
    ],
)
def test_a_whole_value_becomes_litellms_own_reference_or_typed_text(written, becomes):
    done, value = run(f"section:\n  value: {written}")
    assert value["section"]["value"] == becomes
    assert type(value["section"]["value"]) is type(becomes)
    assert done.generated == {}
    assert not [finding for finding in done.findings if finding.severity is Severity.ERROR]


def test_a_part_of_a_text_becomes_a_generated_variable():
    done, value = run("a: https://${HOST_PART}.net/${TEXT}\nb: https://${HOST_PART}.net/${TEXT}\nc: x${TEXT}")
    assert value["a"] == value["b"] != value["c"]
    name = value["a"].removeprefix("os.environ/")
    assert name.startswith("LITESUP_REF_")
    assert done.generated[name] == "https://example.net/hello"
    assert len(done.generated) == 2


def test_a_variable_that_no_replica_inherits_is_passed_on_under_another_name():
    done, value = run("a: os.environ/PORT\nsecret_key: '${PORT}'")
    assert list(done.generated.values()) == ["9000", "9000"]
    assert "PORT" not in {str(part).removeprefix("os.environ/") for part in value.values()}


def test_an_element_of_a_list_is_written_out_and_said_so():
    done, value = run("l: ['${TEXT}', os.environ/TEXT, [os.environ/API_KEY, {k: os.environ/TEXT}], {k: '${TEXT}'}]")
    assert value["l"] == ["hello", "hello", ["12345678", {"k": "hello"}], {"k": "os.environ/TEXT"}]
    assert [finding.code for finding in done.findings].count("reference-in-list") == 3
    (secret,) = (finding for finding in done.findings if finding.code == "secret-in-list")
    assert secret.severity is Severity.WARNING
    assert "12345678" not in str(secret)


def test_a_number_that_litellm_would_leave_a_text_is_written_out():
    _, value = run("router_settings: {num_retries: os.environ/NUMBER, routing_strategy: os.environ/NUMBER}")
    assert value["router_settings"] == {"num_retries": 5, "routing_strategy": "os.environ/NUMBER"}


@pytest.mark.parametrize("written", ["${MISSING}", "os.environ/MISSING", "a-${MISSING}-b", "['${MISSING}']"])
def test_a_variable_that_is_not_set_is_an_error_at_its_place(written):
    done, _ = run(f"a:\n  b: {written}")
    (finding,) = done.findings
    assert (finding.severity, finding.code, finding.line) == (Severity.ERROR, "reference-unset", 2)
    assert finding.path.startswith("a.b")


def test_with_key_management_an_unset_whole_value_is_a_note_and_a_part_is_an_error():
    done, value = run("a: ${MISSING}\nb: x${MISSING}\nc: [os.environ/MISSING]", Vault(present=True))
    assert value["a"] == "os.environ/MISSING"
    assert [finding.code for finding in done.findings] == ["reference-in-vault", "reference-unset", "reference-unset"]


def test_key_management_is_asked_only_for_its_hosted_keys():
    settings = "general_settings: {key_management_system: s, key_management_settings: {hosted_keys: [HELD]}}"
    vault = vault_of(tree(settings))
    done, _ = run("a: ${HELD}\nb: ${MISSING}", vault)
    assert [(one.code, one.path) for one in done.findings] == [("reference-in-vault", "a"), ("reference-unset", "b")]


@pytest.mark.parametrize("written", ["${}", "${1A}", "${A-b}", "${A:?no}", "${A", "${A:-b", "${ A }"])
def test_what_only_looks_like_a_reference_is_refused_with_the_way_out(written):
    done, _ = run(f"a: '{written}'")
    (finding,) = done.findings
    assert finding.code == "reference-malformed"
    assert "$${" in finding.hint


def test_a_reference_in_a_key_is_refused():
    done, _ = run("a: {'${TEXT}': 1}")
    assert [finding.code for finding in done.findings] == ["reference-in-key"]


def test_what_holds_secrets_does_not_show_them():
    done, _ = run("api_base: x${API_KEY}")
    assert "12345678" not in repr(done)
    assert "12345678" not in repr(done.root)
    assert yaml.safe_dump(plain_value(done.root)).count("LITESUP_REF_") == 1
