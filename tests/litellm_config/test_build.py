"""From a file to a generation: what the guide's file becomes, and how everything that is wrong is said at once."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from supervisor.errors import ConfigurationRefused, Severity
from supervisor.litellm_config import env_file
from supervisor.litellm_config.build import build_generation, examine
from supervisor.litellm_config.generation import Generation

GUIDE = Path(__file__).parents[2] / "config" / "litellm.config.yaml"
KEY = "0123abcd" * 4


def write(directory: Path, text: str, name: str = "litellm.config.yaml") -> Path:
    file = directory / name
    file.write_text(text)
    return file


def build(directory: Path, text: str, **environ: str) -> Generation:
    return build_generation(write(directory, text), environ, directory / "state")


def rendered(generation: Generation) -> Any:
    return yaml.safe_load(generation.config_text)


def codes(refused: pytest.ExceptionInfo[ConfigurationRefused]) -> set[str]:
    return {finding.code for finding in refused.value.findings if finding.severity is Severity.ERROR}


def model(extra: str) -> str:
    return f"model_list:\n  - model_name: m\n    litellm_params:\n      model: openai/m\n      {extra}\n"


def test_the_guides_file_works_as_it_stands(tmp_path):
    source = write(tmp_path, GUIDE.read_text())
    generation = build_generation(source, {"AZURE_OPENAI_API_KEY": KEY}, tmp_path / "state")
    assert rendered(generation) == {
        "model_list": [
            {
                "model_name": "gpt-4",
                "litellm_params": {
                    "model": "azure/gpt-4o-2024-08-06",
                    "api_base": "https://your-azure-openai-resource.openai.azure.com/",
                    "api_version": "2024-08-01-preview",
                    "api_key": "os.environ/AZURE_OPENAI_API_KEY",
                },
            }
        ],
        "litellm_settings": {"drop_params": True, "set_verbose": True},
    }
    assert generation.environment["AZURE_OPENAI_API_KEY"] == KEY
    assert {finding.code for finding in generation.adaptations} == {
        "azure-adapted",
        "environment-moved",
        "reference-adapted",
    }
    assert generation.watched == (source, tmp_path / ".env")
    assert generation.directory == tmp_path


def test_the_guides_file_without_its_key_is_refused_at_both_places():
    with pytest.raises(ConfigurationRefused) as refused:
        build_generation(GUIDE, {}, None)
    errors = [finding for finding in refused.value.findings if finding.severity is Severity.ERROR]
    assert [(one.code, one.line, one.column) for one in errors] == [
        ("reference-unset", 7, 16),
        ("reference-unset", 14, 25),
    ]
    assert "AZURE_OPENAI_API_KEY" in errors[0].hint
    assert errors[0].hint.endswith("    7 |       api_key: ${AZURE_OPENAI_API_KEY}\n                       ^")


@pytest.mark.parametrize("name", ["demo.yaml", "litellm.config.yaml", "production.yaml", "redis.yaml"])
def test_every_configuration_that_is_shipped_is_accepted_without_a_warning(name):
    environ = {
        "AZURE_OPENAI_API_KEY": KEY,
        "AZURE_OPENAI_ENDPOINT": "https://one.openai.azure.com",
        "AZURE_OPENAI_API_KEY_2": KEY,
        "AZURE_OPENAI_ENDPOINT_2": "https://two.openai.azure.com",
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PASSWORD": KEY,
    }
    generation, findings = examine(GUIDE.parent / name, environ)
    assert generation is not None, "\n".join(map(str, findings))
    assert all(finding.severity is Severity.NOTE for finding in findings), "\n".join(map(str, findings))


def test_the_demo_needs_no_variable_at_all():
    assert build_generation(GUIDE.parent / "demo.yaml", {}, None).adaptations == ()


def test_all_problems_are_named_at_once(tmp_path):
    text = """\
model_list:
  - model_name: a
    litellm_params: {model: openai/a, api_key: "${MISSING_ONE}", num_retries: "three"}
  - litellm_params: {}
  - model_name: c
    litellm_params: {model: openai/c, api_key: "${bad name}", api_key: x}
general_settings:
  master_key: sk-1234
litellm_settings: yes
include: [absent.yaml]
"""
    with pytest.raises(ConfigurationRefused) as refused:
        build(tmp_path, text)
    assert codes(refused) == {
        "reference-unset",
        "wrong-type",
        "model-entry",
        "reference-malformed",
        "duplicate-key",
        "master-key",
        "include-unreadable",
    }
    assert all(finding.line for finding in refused.value.findings if finding.severity is Severity.ERROR)
    assert str(tmp_path / "litellm.config.yaml") + ":3:" in str(refused.value)


def test_no_key_is_made_for_a_configuration_that_is_refused(tmp_path):
    with pytest.raises(ConfigurationRefused):
        build(tmp_path, model("api_key: ${MISSING}"))
    assert not (tmp_path / "state").exists()


def test_an_absent_file_is_refused_by_its_name(tmp_path):
    with pytest.raises(ConfigurationRefused, match="cannot be read: No such file") as refused:
        build_generation(tmp_path / "absent.yaml", {}, None)
    assert refused.value.findings[0].file == tmp_path / "absent.yaml"


def test_broken_yaml_is_shown_with_a_caret_and_without_the_secret_on_its_line(tmp_path):
    with pytest.raises(ConfigurationRefused) as refused:
        build(tmp_path, "model_list:\n  - a: 1\n  b: api_key: hunter2-secret\n")
    (finding,) = refused.value.findings
    assert (finding.code, finding.line) == ("yaml-syntax", 3)
    assert "^" in finding.hint
    assert "hunter2" not in str(refused.value)


def test_no_secret_reaches_text_findings_or_reprs(tmp_path):
    secret = "SECRET-q8Zk2vX0pLr7"
    text = f"""\
model_list:
  - model_name: a
    litellm_params:
      model: openai/a
      api_key: ${{THE_KEY}}
      api_base: https://user:${{THE_KEY}}@host/v1
      num_retries: {secret}
general_settings:
  master_key: ${{THE_KEY}}
litellm_settings:
  cache_params: {{password: os.environ/THE_KEY}}
environment_variables:
  OTHER: Bearer ${{THE_KEY}}
"""
    refused = examine(write(tmp_path, text), {"THE_KEY": "sk-" + secret})[1]
    assert "wrong-type" in {finding.code for finding in refused}
    generation = build(tmp_path, text.replace(f"num_retries: {secret}", "num_retries: 3"), THE_KEY="sk-" + secret)
    seen = generation.config_text + repr(generation) + "".join(map(str, generation.adaptations))
    assert secret not in seen
    assert generation.environment["OTHER"] == f"Bearer sk-{secret}"
    assert generation.environment["LITELLM_MASTER_KEY"] == generation.master_key.get_secret_value() == "sk-" + secret


def test_a_secret_that_had_to_be_written_into_a_list_is_in_no_repr(tmp_path):
    text = "model_list: []\nmcp_servers: {a: {command: c, args: ['${MY_TOKEN}']}}\n"
    generation = build(tmp_path, text, MY_TOKEN="hunter2-token")
    assert rendered(generation)["mcp_servers"]["a"]["args"] == ["hunter2-token"]
    assert "hunter2" not in repr(generation) + "".join(map(str, generation.adaptations))


def test_a_literal_master_key_leaves_the_rendered_file(tmp_path):
    generation = build(tmp_path, model("rpm: 5") + "general_settings: {master_key: sk-literal-0123456789}\n")
    assert "sk-literal" not in generation.config_text
    assert rendered(generation)["general_settings"]["master_key"] == "os.environ/LITELLM_MASTER_KEY"
    assert generation.master_key.get_secret_value() == "sk-literal-0123456789"


def test_a_master_key_of_the_environment_is_used_and_checked(tmp_path):
    generation = build(tmp_path, model("rpm: 5"), LITELLM_MASTER_KEY="sk-from-outside")
    assert generation.master_key.get_secret_value() == "sk-from-outside"
    assert not (tmp_path / "state").exists()
    with pytest.raises(ConfigurationRefused) as refused:
        build(tmp_path, model("rpm: 5"), LITELLM_MASTER_KEY="sk-1234")
    assert codes(refused) == {"master-key-known"}


def test_a_master_key_that_only_a_vault_knows_is_refused_because_the_balancer_needs_it(tmp_path):
    text = model("rpm: 5") + (
        "general_settings:\n  key_management_system: azure_key_vault\n  master_key: os.environ/IN_THE_VAULT\n"
    )
    with pytest.raises(ConfigurationRefused) as refused:
        build(tmp_path, text)
    assert codes(refused) == {"master-key-in-vault"}


def test_a_made_key_is_kept_and_found_again(tmp_path):
    first = build(tmp_path, model("rpm: 5"))
    assert build(tmp_path, model("rpm: 5")).digest == first.digest
    assert first.master_key.get_secret_value().startswith("sk-")


def test_what_a_rule_remarks_is_in_the_log_as_a_warning_and_not_in_the_rendered_text(tmp_path):
    """A better rule in a newer litesup is no reason to replace every replica."""
    generation = build(tmp_path, model("rpm: 5") + "modle_list: []\n")
    assert [finding.code for finding in generation.adaptations] == ["unknown-section"]
    assert "unknown-section" not in generation.config_text


def test_looking_at_a_configuration_stores_nothing(tmp_path):
    generation, findings = examine(write(tmp_path, model("rpm: 5")), {})
    assert generation is not None
    assert findings == ()
    assert [file.name for file in tmp_path.iterdir()] == ["litellm.config.yaml"]


def test_the_digest_follows_text_environment_and_modules_and_nothing_else(tmp_path):
    (tmp_path / "hooks.py").write_text("handler = 1\n")
    text = model("api_key: ${K}") + "litellm_settings: {callbacks: hooks.handler}\n"
    first = build(tmp_path, text, K="one")
    assert tmp_path / "hooks.py" in first.watched
    assert build(tmp_path, "# a comment\n" + text, K="one").digest == first.digest
    assert build(tmp_path, text, K="two").digest != first.digest
    assert build(tmp_path, text + "router_settings: {num_retries: 1}\n", K="one").digest != first.digest
    (tmp_path / "hooks.py").write_text("handler = 2\n")
    assert build(tmp_path, text, K="one").digest != first.digest


def test_env_file_beside_the_configuration_is_read_and_never_overrides(tmp_path):
    (tmp_path / ".env").write_text("A_KEY=from-file\nB_KEY='from file'\nC=${A_KEY}!\nexport D=1\n")
    text = model("api_key: ${A_KEY}\n      organization: ${B_KEY}")
    generation = build(tmp_path, text, A_KEY="from-outside")
    assert generation.environment["A_KEY"] == "from-outside"
    assert generation.environment["B_KEY"] == "from file"
    assert generation.environment["C"] == "from-outside!"
    assert generation.environment["D"] == "1"


def test_the_env_file_adds_only_what_is_not_set(tmp_path):
    (tmp_path / ".env").write_text("A=file\nB=file\n")
    assert env_file.read(tmp_path / ".env", {"A": "real"}) == ({"B": "file"}, ())


def test_a_broken_line_of_the_env_file_is_a_warning_at_its_line(tmp_path):
    (tmp_path / ".env").write_text("A=1\n\n\n'broken\n")
    _, findings = examine(write(tmp_path, model("rpm: 5")), {})
    assert [(one.code, one.line, one.severity) for one in findings] == [("env-file-syntax", 4, Severity.WARNING)]


@pytest.mark.timeout(60)  # a pattern that tries every beginning of every word would take minutes
@pytest.mark.parametrize("wrong", [False, True])
def test_a_very_long_word_does_not_hold_up_the_start(tmp_path, wrong: bool):
    text = model(f"user: {'${UNSET}' if wrong else ''}{'word' * 50_000}")
    if not wrong:
        assert "word" * 50_000 in build(tmp_path, text).config_text
        return
    with pytest.raises(ConfigurationRefused) as refused:
        build(tmp_path, text)
    assert len(str(refused.value)) < 2000
