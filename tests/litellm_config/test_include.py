"""`include:` reads what LiteLLM would read, in its order, and merges as it does."""

from pathlib import Path
from typing import Any

from supervisor.errors import Severity
from supervisor.litellm_config.document import plain_value
from supervisor.litellm_config.include import Loaded, load


def files(directory: Path, **texts: str) -> Path:
    for name, text in texts.items():
        file = directory / f"{name.replace('__', '/')}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return directory / "root.yaml"


def value(loaded: Loaded) -> Any:
    assert loaded.root is not None
    return plain_value(loaded.root)


def test_lists_are_joined_and_anything_else_is_replaced_with_a_warning(tmp_path):
    root = files(
        tmp_path,
        root="include: [a.yaml]\nmodel_list: [1]\nsettings: {x: 1, y: 1}\nkept: 1\n",
        a="model_list: [2]\nsettings: {x: 2}\nnew: 3\n",
    )
    loaded = load(root)
    assert value(loaded) == {"model_list": [1, 2], "settings": {"x": 2}, "kept": 1, "new": 3}
    assert [(one.code, one.severity, one.file, one.line) for one in loaded.findings] == [
        ("include-replaces", Severity.WARNING, tmp_path / "a.yaml", 2)
    ]
    assert loaded.watched == [root, tmp_path / "a.yaml"]


def test_includes_are_read_breadth_first_each_next_to_the_file_that_names_it_and_once(tmp_path):
    root = files(
        tmp_path,
        root="include: [sub/a.yaml, c.yaml]\nl: [root]\n",
        sub__a="include: [b.yaml, ../c.yaml]\nl: [a]\n",
        sub__b="l: [b]\n",
        c="l: [c]\n",
    )
    loaded = load(root)
    assert value(loaded) == {"l": ["root", "a", "c", "b"]}
    assert loaded.findings == []


def test_a_nested_include_that_lies_beside_the_root_only_is_found_there(tmp_path):
    root = files(tmp_path, root="include: [sub/a.yaml]\nl: []\n", sub__a="include: [b.yaml]\nl: [a]\n", b="l: [b]\n")
    loaded = load(root)
    assert value(loaded) == {"l": ["a", "b"]}
    assert [finding.code for finding in loaded.findings] == ["include-beside-root"]


def test_a_cycle_ends_and_is_a_warning(tmp_path):
    root = files(tmp_path, root="include: [a.yaml]\nl: [1]\n", a="include: [root.yaml]\nl: [2]\n")
    loaded = load(root)
    assert value(loaded) == {"l": [1, 2]}
    assert [(one.code, one.severity) for one in loaded.findings] == [("include-cycle", Severity.WARNING)]


def test_every_absent_or_broken_file_is_named_where_it_is_included(tmp_path):
    root = files(tmp_path, root="include:\n  - gone.yaml\n  - list.yaml\n  - bad.yaml\n", list="[1]\n", bad="a: [\n")
    loaded = load(root)
    found = [(one.code, one.file and one.file.name, one.line) for one in loaded.findings]
    assert found == [
        ("include-unreadable", "root.yaml", 2),
        ("top-level", "list.yaml", 1),
        ("yaml-syntax", "bad.yaml", 2),
    ]
    assert tmp_path / "gone.yaml" in loaded.watched


def test_include_has_to_be_a_list_of_names(tmp_path):
    for text in ("include: a.yaml\n", "include: [1]\n"):
        assert [finding.code for finding in load(files(tmp_path, root=text)).findings] == ["include-not-a-list"]


def test_a_file_that_is_not_utf_8_is_refused_at_the_line(tmp_path):
    (tmp_path / "root.yaml").write_bytes(b"a: 1\nb: \xff\n")
    loaded = load(tmp_path / "root.yaml")
    assert loaded.root is None
    assert [(one.code, one.line) for one in loaded.findings] == [("not-utf-8", 2)]
