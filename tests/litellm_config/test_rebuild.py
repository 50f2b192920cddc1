"""A generation can be made again from what it carries, whatever has become of its files."""

import runpy
import shutil

import pytest

from supervisor.errors import ConfigurationRefused
from supervisor.litellm_config.build import build_generation, rebuild_generation
from supervisor.litellm_config.write import write_rendered

CONFIG = """\
include: [models.yaml]
environment_variables:
  TENANT: ${TENANT}
litellm_settings:
  callbacks: [hooks.handler]
  tags: ["${TENANT}", literal]
"""
MODELS = """\
model_list:
  - model_name: gpt-4
    litellm_params: {model: openai/x, api_base: "https://${TENANT}.example/v1", api_key: "${PROVIDER_KEY}"}
"""
ENVIRON = {"TENANT": "acme-held-in-the-environment", "PROVIDER_KEY": "provider-key-51c07"}


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "c.yaml").write_text(CONFIG)
    (folder / "models.yaml").write_text(MODELS)
    (folder / "hooks.py").write_text("handler = 'first'\n")
    return folder


def test_it_is_the_same_generation_when_nothing_changed(home, tmp_path):
    generation = build_generation(home / "c.yaml", ENVIRON, tmp_path / "state")
    again = rebuild_generation(home / "c.yaml", generation.written, ENVIRON, tmp_path / "state")
    assert again == generation


def test_it_needs_none_of_the_files_but_dotenv(home, tmp_path):
    generation = build_generation(home / "c.yaml", ENVIRON, tmp_path / "state")
    shutil.rmtree(home)
    home.mkdir()
    again = rebuild_generation(home / "c.yaml", generation.written, ENVIRON, tmp_path / "state")
    assert again.digest == generation.digest
    runtime = tmp_path / "run"
    runtime.mkdir()
    file = write_rendered(again, runtime)
    assert runpy.run_path(str(file.parent / "hooks.py"))["handler"] == "first"


def test_a_module_is_the_one_of_then(home, tmp_path):
    generation = build_generation(home / "c.yaml", ENVIRON, tmp_path / "state")
    (home / "hooks.py").write_text("raise RuntimeError\n")
    assert build_generation(home / "c.yaml", ENVIRON, tmp_path / "state").digest != generation.digest
    assert rebuild_generation(home / "c.yaml", generation.written, ENVIRON, tmp_path / "state") == generation


def test_what_it_carries_holds_no_value_of_a_variable(home, tmp_path):
    (home / ".env").write_text("FROM_DOTENV=dotenv-value-5a2\n")
    (home / "models.yaml").write_text(MODELS.replace("gpt-4", "${FROM_DOTENV}"))
    generation = build_generation(home / "c.yaml", ENVIRON, tmp_path / "state")
    carried = "".join(generation.written.texts.values()) + "".join(map(str, generation.written.modules.values()))
    assert "acme-held-in-the-environment" in generation.config_text, "a list holds the value itself"
    for value in (*ENVIRON.values(), "dotenv-value-5a2", generation.master_key.get_secret_value()):
        assert value not in carried
        assert value not in repr(generation)


def test_the_environment_is_that_of_now(home, tmp_path):
    generation = build_generation(home / "c.yaml", ENVIRON, tmp_path / "state")
    moved = {**ENVIRON, "TENANT": "other"}
    again = rebuild_generation(home / "c.yaml", generation.written, moved, tmp_path / "state")
    assert again.digest != generation.digest
    assert "https://other.example/v1" in again.environment.values()
    assert again.environment["TENANT"] == "other"


def test_a_variable_that_is_gone_refuses_it(home, tmp_path):
    generation = build_generation(home / "c.yaml", ENVIRON, tmp_path / "state")
    with pytest.raises(ConfigurationRefused, match="PROVIDER_KEY is not set"):
        rebuild_generation(home / "c.yaml", generation.written, {"TENANT": "acme"}, tmp_path / "state")


def test_neither_a_lint_rule_nor_an_unreadable_dotenv_stands_in_its_way(home, tmp_path, monkeypatch):
    generation = build_generation(home / "c.yaml", ENVIRON, tmp_path / "state")
    (home / ".env").write_bytes(b"\xff\xfe")
    monkeypatch.setattr("supervisor.litellm_config.build.lint", lambda _subject: pytest.fail("a rule was asked"))
    assert rebuild_generation(home / "c.yaml", generation.written, ENVIRON, tmp_path / "state") == generation
