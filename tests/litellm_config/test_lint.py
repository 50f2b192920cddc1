"""Each rule, by an example that it objects to and one that it leaves alone."""

from pathlib import Path

import pytest

from supervisor.errors import Severity
from supervisor.litellm_config.document import MapNode, parse
from supervisor.litellm_config.lint import RULES, Subject, lint

GOOD = "model_list: [{model_name: a, litellm_params: {model: openai/a}}]\n"


def found(text: str, **environ: str) -> list[tuple[str, Severity, str]]:
    node, _ = parse(text, Path("c.yaml"))
    assert isinstance(node, MapNode)
    return [(one.code, one.severity, one.path) for one in lint(Subject(node, environ))]


def test_a_sound_document_gets_no_finding():
    assert found(GOOD + "litellm_settings: {drop_params: true}\nrouter_settings:\ngeneral_settings: {}\n") == []
    assert found(GOOD + "general_settings: {allow_client_side_credentials: false}\n") == []


@pytest.mark.parametrize(
    ("text", "code", "severity", "path"),
    [
        ("modle_list: []\n" + GOOD, "unknown-section", Severity.WARNING, "modle_list"),
        ("litellm_settings: {}\n", "no-models", Severity.WARNING, "model_list"),
        ("model_list: []\n", "no-models", Severity.WARNING, "model_list"),
        ("model_list: {a: 1}\n", "wrong-type", Severity.ERROR, "model_list"),
        ("model_list: [a]\n", "model-entry", Severity.ERROR, "model_list[0]"),
        ("model_list: [{litellm_params: {model: a}}]\n", "model-entry", Severity.ERROR, "model_list[0]"),
        ("model_list: [{model_name: a}]\n", "model-entry", Severity.ERROR, "model_list[0]"),
        (
            "model_list: [{model_name: a, litellm_params: {}}]\n",
            "model-entry",
            Severity.ERROR,
            "model_list[0].litellm_params",
        ),
        (
            GOOD + "general_settings: {allow_client_side_credentials: true}\n",
            "client-side-credentials",
            Severity.WARNING,
            "general_settings.allow_client_side_credentials",
        ),
        (
            "model_list: [{model_name: a, litellm_params: {model: a, configurable_clientside_auth_params: [api_base]}}]\n",
            "client-side-credentials",
            Severity.WARNING,
            "model_list[0].litellm_params.configurable_clientside_auth_params",
        ),
        (GOOD + "general_settings: []\n", "wrong-type", Severity.ERROR, "general_settings"),
        (GOOD + "router_settings: {num_retries: '3'}\n", "wrong-type", Severity.ERROR, "router_settings.num_retries"),
        (GOOD + "router_settings: {num_retries: true}\n", "wrong-type", Severity.ERROR, "router_settings.num_retries"),
        (GOOD + "litellm_settings: {num_retries: x}\n", "wrong-type", Severity.ERROR, "litellm_settings.num_retries"),
        (
            GOOD + "litellm_settings: {drop_params: 'False'}\n",
            "wrong-type",
            Severity.WARNING,
            "litellm_settings.drop_params",
        ),
        (
            GOOD + "general_settings: {master_key: sk-1234}\n",
            "master-key",
            Severity.ERROR,
            "general_settings.master_key",
        ),
        (GOOD + "general_settings: {master_key: ''}\n", "master-key", Severity.ERROR, "general_settings.master_key"),
        (GOOD + "general_settings: {master_key:}\n", "master-key", Severity.ERROR, "general_settings.master_key"),
        (
            GOOD + "general_settings: {master_key: 'sk-a b'}\n",
            "master-key",
            Severity.ERROR,
            "general_settings.master_key",
        ),
        (GOOD + "general_settings: {master_key: 5}\n", "wrong-type", Severity.ERROR, "general_settings.master_key"),
        (
            GOOD + "general_settings: {master_key: pass}\n",
            "master-key",
            Severity.WARNING,
            "general_settings.master_key",
        ),
        (
            GOOD + "general_settings: {master_key: os.environ/WEAK}\n",
            "master-key",
            Severity.ERROR,
            "general_settings.master_key",
        ),
        (
            GOOD + "general_settings: {master_key: sk-1234, dangerously_permit_weak_or_unset_master_key: true}\n",
            "master-key",
            Severity.WARNING,
            "general_settings.master_key",
        ),
    ],
)
def test_each_rule_objects_at_the_place(text, code, severity, path):
    assert found(text, WEAK="sk-1234") == [(code, severity, path)]


@pytest.mark.parametrize("params", ["api_version: 2024-10-21", "model: 4", "api_key: 12345"])
def test_a_text_that_yaml_reads_as_something_else_is_an_error(params):
    rest = "" if params.startswith("model") else "model: openai/a, "
    (finding,) = found(f"model_list: [{{model_name: a, litellm_params: {{{rest}{params}}}}}]\n")
    assert finding[:2] == ("wrong-type", Severity.ERROR)


def test_a_misspelt_section_gets_the_right_name():
    node, _ = parse("modle_list: []\n" + GOOD, Path("c.yaml"))
    assert isinstance(node, MapNode)
    assert [one.hint for one in lint(Subject(node, {}))] == ["Did you mean `model_list`?"]


def test_every_rule_says_what_it_is_about():
    for code, rule in RULES.items():
        assert rule.code == code == code.lower()
        assert rule.summary.endswith(".")
