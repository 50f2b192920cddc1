"""The reader agrees with YAML's own, knows where everything is, and refuses what YAML lets pass."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from supervisor.errors import Finding, Severity
from supervisor.litellm_config.document import MapNode, finding_at, parse, path_text, plain_value, read_scalar, scalars
from supervisor.litellm_config.excerpt import masked, with_excerpt

FILE = Path("/etc/c.yaml")


def errors(text: str) -> list[tuple[str, int | None]]:
    return [(finding.code, finding.line) for finding in parse(text, FILE)[1]]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), VALUES, min_size=1, max_size=4))
def test_what_yaml_wrote_reads_back_as_yaml_reads_it(value):
    text = yaml.safe_dump(value)
    node, findings = parse(text, FILE)
    assert node is not None
    assert not findings
    assert repr(plain_value(node)) == repr(yaml.safe_load(text))


def test_aliases_and_merge_keys_count_as_in_yaml():
    text = "base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\na:\n  <<: [*b, *o]\n  x: 9\nb: *b\n"
    node, findings = parse(text, FILE)
    assert node is not None
    assert not findings
    assert plain_value(node) == yaml.safe_load(text)


@given(st.text(max_size=12))
def test_an_unquoted_text_reads_as_yaml_reads_it_or_stays_a_text(text):
    value = read_scalar(text)
    assert value is None or isinstance(value, str | int | float | bool)
    if isinstance(value, str):
        assert value == text


def test_every_value_knows_its_place():
    node, _ = parse("a:\n  - b: one\n    c: [2, three]\n", FILE)
    assert isinstance(node, MapNode)
    places = {path_text(path): (scalar.place.line, scalar.place.column) for path, scalar in scalars(node)}
    assert places == {"a[0].b": (2, 8), "a[0].c[0]": (3, 9), "a[0].c[1]": (3, 12)}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", [("duplicate-key", 4)]),
        ("a: [1\nb: 2\n", [("yaml-syntax", 2)]),
        ("a: b: c\n", [("yaml-syntax", 1)]),
        ("a:\n\t- b\n", [("yaml-syntax", 2)]),
        ("a: 1\n---\nb: 2\n", [("yaml-syntax", 2)]),
        ("a: *nowhere\n", [("yaml-syntax", 1)]),
        ("a: &a [*a]\n", [("yaml-recursive", 1)]),
        ("a: !!python/object:os.system x\n", [("yaml-tag", 1)]),
        ("a: 2024-99-99\n", [("yaml-value", 1)]),
        ("? [a]\n: 1\n", [("yaml-key", 1)]),
        ("a: 1\nb: \x01\n", [("yaml-syntax", 2)]),
        ("", [("file-empty", None)]),
        ("# nothing\n", [("file-empty", None)]),
    ],
)
def test_each_error_is_found_at_its_line(text, found):
    assert errors(text) == found


def test_a_document_that_unfolds_without_end_is_refused_in_time():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert [code for code, _ in errors("\n".join(lines))] == ["yaml-too-large"]
    assert [code for code, _ in errors("a: " + "[" * 5000)] == ["yaml-too-deep"]


def test_an_excerpt_shows_the_line_with_a_caret_at_the_column():
    node, _ = parse("a: 1\nbee: two\n", FILE)
    assert isinstance(node, MapNode)
    finding = finding_at(node.get("bee"), Severity.ERROR, "x", "Wrong.", hint="Do this.")
    shown = with_excerpt(finding, {FILE: "a: 1\nbee: two\n"})
    assert shown.hint == "Do this.\n    2 | bee: two\n             ^"
    note = Finding(Severity.NOTE, "x", "Fine.", file=FILE, line=1, column=1)
    assert with_excerpt(note, {FILE: "a: 1\n"}) is note


@pytest.mark.parametrize(
    "line",
    [
        "api_key: hunter2",
        "      api_key: 'hunter2",
        '"master_key": hunter2',
        "redis_password: hunter2 # old",
        "- sk-hunter2",
        "url: redis://me:hunter2@host:6379",
        "value: hunter2hunter2hunter2hunter2",
        "MY_TOKEN: hunter2",
        "litellm_params: {model: a, api_key: hunter2}",
    ],
)
def test_what_may_be_a_secret_is_masked_in_an_excerpt(line):
    assert "hunter2" not in masked(line)
    assert len(masked(line)) == len(line)


def test_what_is_no_secret_stays_readable():
    for line in (
        "model: gpt-4o-2024-08-06",
        "api_key: ${AZURE_OPENAI_API_KEY}",
        "max_tokens: 5",
        "api_key: os.environ/K",
    ):
        assert masked(line) == line
