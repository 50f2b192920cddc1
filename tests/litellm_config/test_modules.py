"""The operator's own modules: which belong to a configuration, and how LiteLLM finds their code as it was."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.litellm_config import modules
from supervisor.litellm_config.build import build_generation, rebuild_generation
from supervisor.litellm_config.generation import Generation
from supervisor.litellm_config.write import write_rendered


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "home"
    directory.mkdir()
    return directory


def save(home: Path, **files: str) -> None:
    """`pkg__sub=…` is pkg/sub.py, `pkg__init=…` is pkg/__init__.py."""
    for name, text in files.items():
        *packages, last = name.split("__")
        file = home.joinpath(*packages, "__init__.py" if last == "init" else f"{last}.py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def build(home: Path, *named: str) -> Generation:
    (home / "c.yaml").write_text(f"model_list: []\nlitellm_settings: {{callbacks: [{', '.join(named)}]}}\n")
    return build_generation(home / "c.yaml", {}, home.parent / "state")


def kept(home: Path, *named: str) -> set[str]:
    return {file.relative_to(home).as_posix() for file in build(home, *named).written.modules}


def test_what_a_module_imports_from_beside_it_belongs_to_the_configuration_and_so_on(home: Path) -> None:
    save(
        home,
        hooks="import os, first\nfrom second import X\ndef late():\n    from pkg.deep import y\n",
        first="try:\n    import third\nexcept ImportError:\n    third = None\n",
        second="import hooks\nX = 1\n",
        third="",
        pkg__init="from . import also\nfrom .. import nothing\n",
        pkg__deep="from .also import a\n",
        pkg__also="a = 1\n",
        unrelated="",
    )
    expected = {"hooks.py", "first.py", "second.py", "third.py", "pkg/__init__.py", "pkg/deep.py", "pkg/also.py"}
    assert kept(home, "hooks.handler") == expected


def test_looking_for_imports_runs_nothing(home: Path) -> None:
    save(home, hooks="import beside\n", beside="raise AssertionError('this ran')\n")
    assert kept(home, "hooks.handler") == {"hooks.py", "beside.py"}
    assert "beside" not in sys.modules


@pytest.mark.parametrize("text", ["def broken(:\n", "\0", "(" * 10_000, "# coding: no-such\n"])
def test_a_module_that_cannot_be_parsed_is_watched_all_the_same(home: Path, text: str) -> None:
    save(home, hooks=text)
    assert home / "hooks.py" in build(home, "hooks.handler").watched


def test_a_change_in_what_is_imported_is_a_new_generation(home: Path) -> None:
    save(home, hooks="from pkg.deep import handler\n", pkg__deep="handler = 1\n")
    first = build(home, "hooks.handler")
    save(home, pkg__deep="handler = 2\n")
    assert build(home, "hooks.handler").digest != first.digest


def test_a_module_that_is_not_there_is_watched_unless_it_is_installed(home: Path) -> None:
    save(home, hooks="import os, litellm.integrations, yaml, not_there, pkg.sub\n", pkg__init="")
    watched = {path.relative_to(home).as_posix() for path in build(home, "hooks.handler", "neither.handler").watched}
    assert watched == {"c.yaml", ".env", "hooks.py", "neither.py", "not_there.py", "pkg/__init__.py", "pkg/sub.py"}


def test_there_is_an_end_to_what_is_followed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "MOST_MODULES", 10)
    save(home, **{f"m{n}": f"import m{n + 1}\n" for n in range(50)})
    assert len(kept(home, "m0.handler")) <= 11


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets go of what a test imports."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def get_instance_fn(value: str, config: Path) -> Any:
    """LiteLLM's way (`proxy.types_utils.utils`): a file beside the configuration, else a module of that name."""
    name, _, attribute = value.rpartition(".")
    file = config.parent.joinpath(*name.split(".")).with_suffix(".py")
    if not file.exists():
        return getattr(importlib.import_module(name), attribute)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, attribute)


@pytest.mark.usefixtures("imported")
def test_litellm_finds_a_package_by_its_name_and_what_it_imports_as_it_was(home: Path, tmp_path: Path) -> None:
    save(
        home,
        my_pkg__init="from .inner import VALUE\nfrom my_beside import OTHER\nhandler = (VALUE, OTHER, __file__)\n",
        my_pkg__inner="VALUE = 'inner'\n",
        my_beside="OTHER = 'beside'\n",
        my_hooks="from my_beside import OTHER\nimport my_pkg\nhandler = (OTHER, my_pkg.VALUE)\n",
    )
    generation = build(home, "my_pkg.handler", "my_pkg.inner.VALUE", "my_hooks.handler")
    (tmp_path / "run").mkdir()
    file = write_rendered(generation, tmp_path / "run")
    for broken in ("my_pkg/__init__.py", "my_pkg/inner.py", "my_beside.py", "my_hooks.py"):
        (home / broken).write_text("raise AssertionError('saved after the generation was made')\n")
    assert get_instance_fn("my_pkg.handler", file) == ("inner", "beside", str(home / "my_pkg" / "__init__.py"))
    assert get_instance_fn("my_pkg.inner.VALUE", file) == "inner"
    assert get_instance_fn("my_hooks.handler", file) == ("beside", "inner")


def test_a_generation_is_made_again_with_all_of_its_modules(home: Path) -> None:
    save(home, hooks="from pkg.deep import handler\n", pkg__init="", pkg__deep="handler = 1\n")
    generation = build(home, "hooks.handler")
    for file in generation.written.modules:
        file.unlink()
    again = rebuild_generation(home / "c.yaml", generation.written, {}, home.parent / "state")
    assert again.digest == generation.digest
    assert again.written.modules == generation.written.modules


def test_a_package_and_a_module_of_one_name_are_both_kept(home: Path, tmp_path: Path) -> None:
    save(home, twice="handler = 'module'\n", twice__sub="x = 1\n", twice__init="", hooks="import twice.sub\n")
    generation = build(home, "twice.handler", "hooks.handler")
    (tmp_path / "run").mkdir()
    written = write_rendered(generation, tmp_path / "run").parent
    assert "'module'" in (written / "twice.py").read_text()
    assert (written / "twice" / "__init__.py").exists()


def test_a_module_that_cannot_be_looked_for_is_not_beside_the_file(home: Path) -> None:
    """Its directory may be closed to the daemon; here the kernel takes no such name."""
    save(home, hooks="")
    assert kept(home, f"{'x' * 300}.handler", f"pkg.{'y' * 300}.handler", "hooks.handler") == {"hooks.py"}
