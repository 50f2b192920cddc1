"""config/litesup.yaml is what operators read: it names every setting, with the default that the schema has."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from supervisor.settings.diff import APPLIES, Applies
from supervisor.settings.load import load_settings
from supervisor.settings.schema import Settings, schema_places

FILE = Path(__file__).parent.parent.parent / "config/litesup.yaml"


def uncommented() -> dict[str, object]:
    """The file with the commented-out settings in force too."""
    text = re.sub(r"^( *)# ([a-z_]+: \S)", r"\1\2", FILE.read_text(), flags=re.MULTILINE)
    document: dict[str, object] = yaml.safe_load(text)
    return document


def test_the_file_changes_nothing() -> None:
    assert load_settings(flags={}, environ={}, settings_file=FILE) == Settings()


def test_every_setting_is_in_the_file_and_nothing_else() -> None:
    named: set[tuple[str, ...]] = set()
    for name, value in uncommented().items():
        named |= {(name, inner) for inner in value} if isinstance(value, dict) else {(name,)}
    assert named == set(schema_places())


def test_every_line_that_is_in_force_shows_the_default() -> None:
    shown = yaml.safe_load(FILE.read_text())
    defaults = Settings().model_dump(mode="json")
    for section, values in shown.items():
        for name, value in values.items():
            assert value == defaults[section][name], f"{section}.{name}"


def test_what_is_commented_out_would_be_accepted(tmp_path: Path) -> None:
    copy = tmp_path / "litesup.yaml"
    copy.write_text(yaml.safe_dump(uncommented()))
    settings = load_settings(flags={}, environ={}, settings_file=copy)
    assert settings.access.trusted is not None
    assert settings.replicas.count == 3


def test_every_setting_has_a_comment_with_its_meaning() -> None:
    sections = {name for name, value in uncommented().items() if isinstance(value, dict)}
    bare = {"host", "port", "enabled", "size", "interval", "initial", "maximum"}  # said by their section's comment
    for line in FILE.read_text().splitlines():
        match = re.match(r"^(?: *# | +)(\w+): [^#]*(#.*)?$", line)
        if match and match[1] not in sections | bare | {"config", "runtime_dir", "state_dir"} and line.startswith(" "):
            assert match[2], line


def marks() -> dict[str, Applies]:
    """What the file says of each setting; a comment above a setting of the top level is its own."""
    found: dict[str, Applies] = {}
    section, above = "", ""
    for line in FILE.read_text().splitlines():
        if opened := re.match(r"([a-z_]+):", line):
            section = opened[1]
        elif inner := re.match(r"  (?:# )?([a-z_]+): \S", line):
            found[f"{section}.{inner[1]}"] = mark_in(line)
        elif top := re.match(r"# ([a-z_]+): \S+$", line):
            found[top[1]] = mark_in(above)
        above = f"{above} {line}" if line.startswith("#") else ""
    return found


def mark_in(text: str) -> Applies:
    return next((each for each in (Applies.ROLL, Applies.RESTART) if f"[{each.value}]" in text), Applies.LIVE)


def test_the_file_says_of_every_setting_when_a_change_applies() -> None:
    assert marks() == APPLIES
