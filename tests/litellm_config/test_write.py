"""The rendered file: private, whole, made once; and the operator's modules beside it."""

import runpy
import stat
import sys

import pytest
import yaml

from supervisor.litellm_config.build import build_generation
from supervisor.litellm_config.write import remove_rendered, write_rendered

TEXT = "model_list: []\nlitellm_settings: {callbacks: [hooks.handler, pkg.deep.handler, no_such.handler]}\n"


@pytest.fixture
def generation(tmp_path):
    home = tmp_path / "home"
    (home / "pkg").mkdir(parents=True)
    (home / "hooks.py").write_text("import beside\nhandler = (__file__, __name__, beside.VALUE)\n")
    (home / "beside.py").write_text("VALUE = 'found'\n")
    (home / "pkg" / "deep.py").write_text("# \N{SNOWMAN} {braces} '''\nhandler = 'deep'\n")
    (home / "c.yaml").write_text(TEXT)
    return build_generation(home / "c.yaml", {}, tmp_path / "state")


@pytest.fixture
def runtime(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    return directory


def test_the_file_is_written_once_and_nobody_can_change_it(generation, runtime):
    file = write_rendered(generation, runtime)
    assert file.read_text() == generation.config_text
    assert generation.digest in file.parent.name
    assert file.suffix == ".yaml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o400
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    before = file.stat()
    assert write_rendered(generation, runtime) == file
    assert file.stat() == before
    assert [entry.name for entry in runtime.iterdir()] == [file.parent.name]


def test_a_file_that_was_overwritten_is_restored(generation, runtime):
    file = write_rendered(generation, runtime)
    file.chmod(0o600)
    file.write_text("model_list: [resolved]\n")
    assert write_rendered(generation, runtime).read_text() == generation.config_text


def test_a_module_beside_the_original_loads_from_beside_the_rendered_file(generation, runtime, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    file = write_rendered(generation, runtime)
    loaded = runpy.run_path(str(file.parent / "hooks.py"), run_name="hooks")
    assert loaded["handler"] == (str(generation.directory / "hooks.py"), "hooks", "found")
    assert runpy.run_path(str(file.parent / "pkg" / "deep.py"))["handler"] == "deep"
    assert not (file.parent / "no_such.py").exists()
    sys.modules.pop("beside", None)


def test_a_generation_keeps_the_code_that_it_was_made_with(generation, runtime):
    file = write_rendered(generation, runtime)
    (generation.directory / "pkg" / "deep.py").write_text("this is broken\n")
    assert write_rendered(generation, runtime) == file
    assert runpy.run_path(str(file.parent / "pkg" / "deep.py"))["handler"] == "deep"


def test_removing_keeps_what_is_named_and_what_is_not_ours(generation, runtime):
    file = write_rendered(generation, runtime)
    (runtime / "litellm-000000000000").mkdir()
    (runtime / ".litellm-unfinished").mkdir()
    (runtime / "control.sock").touch()
    remove_rendered(runtime, frozenset({generation.digest}))
    assert {entry.name for entry in runtime.iterdir()} == {file.parent.name, "control.sock"}
    remove_rendered(runtime, frozenset())
    assert {entry.name for entry in runtime.iterdir()} == {"control.sock"}


def test_the_rendered_text_says_what_was_adapted_without_line_numbers(generation):
    head = [line for line in generation.config_text.splitlines() if line.startswith("#")]
    assert any("hooks.py" in line for line in head)
    assert yaml.safe_load(generation.config_text) == yaml.safe_load(TEXT)
