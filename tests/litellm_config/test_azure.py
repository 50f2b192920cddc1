"""Which models are Azure's without saying so; the counter-examples are those that LiteLLM's users meet."""

from pathlib import Path
from typing import Any

import pytest

from supervisor.errors import Finding, Severity
from supervisor.litellm_config.azure import Verdict, adapt, host_of, judge
from supervisor.litellm_config.document import MapNode, parse, plain_value

OPENAI_AZURE = "https://name.openai.azure.com/"


@pytest.mark.parametrize(
    ("model", "api_base", "has_version", "provider", "verdict"),
    [
        ("gpt-4o", OPENAI_AZURE, True, "", Verdict.ADAPT),
        ("gpt-4o", OPENAI_AZURE, False, "", Verdict.ADAPT),
        ("gpt-4o", "https://name.openai.azure.us", False, "", Verdict.ADAPT),
        ("gpt-4o", "https://name.openai.azure.cn", False, "", Verdict.ADAPT),
        ("gpt-4o", "https://NAME.CognitiveServices.Azure.com/", False, "", Verdict.ADAPT),
        ("gpt-4o", "name.openai.azure.com", False, "", Verdict.ADAPT),
        ("gpt-4o", "http://127.0.0.1:9000", True, "", Verdict.ADAPT),
        ("gpt-4o", "", True, "", Verdict.ADAPT),
        ("azure", OPENAI_AZURE, True, "", Verdict.ADAPT),
        ("gpt-4o", "http://127.0.0.1:9000", False, "", Verdict.LEAVE),
        ("gpt-4o", "", False, "", Verdict.LEAVE),
        ("gpt-4o", "https://openai.azure.com.evil.example", False, "", Verdict.LEAVE),
        ("gpt-4o", "https://notopenai.azure.com", False, "", Verdict.LEAVE),
        ("gpt-4o", OPENAI_AZURE, True, "openai", Verdict.LEAVE),
        ("azure/gpt-4o", OPENAI_AZURE, True, "", Verdict.LEAVE),
        ("openai/gpt-4o", OPENAI_AZURE, True, "", Verdict.LEAVE),
        ("mine/gpt-4o", OPENAI_AZURE, True, "", Verdict.LEAVE),
        ("*", OPENAI_AZURE, True, "", Verdict.LEAVE),
        ("gpt-*", OPENAI_AZURE, True, "", Verdict.LEAVE),
        ("gpt-4o", "https://name.openai.azure.com/openai/v1/", True, "", Verdict.LEAVE),
        ("gpt-4o", "https://name.services.ai.azure.com/openai/v1", True, "", Verdict.LEAVE),
        ("gpt-4o", "https://name.services.ai.azure.com", True, "", Verdict.OTHER_AZURE),
        ("gpt-4o", "https://name.models.ai.azure.com", True, "", Verdict.OTHER_AZURE),
        ("gpt-4o", "https://name.azure-api.net", False, "", Verdict.OTHER_AZURE),
        ("gpt-4o", "https://name.azure-api.net", True, "", Verdict.ADAPT),
        ("gpt-4o/custom", OPENAI_AZURE, True, "", Verdict.UNKNOWN_PREFIX),
    ],
)
def test_a_model_is_judged_by_what_it_says_of_itself(model, api_base, has_version, provider, verdict):
    custom = frozenset({"mine"})
    judged = judge(model, api_base=api_base, has_api_version=has_version, provider=provider, custom=custom)
    assert judged is verdict


def run(text: str, environ: dict[str, str]) -> tuple[list[Any], list[Finding], dict[str, str]]:
    node, _ = parse(text, Path("c.yaml"))
    assert isinstance(node, MapNode)
    done = adapt(node, environ)
    models = [item["litellm_params"]["model"] for item in plain_value(done.root)["model_list"]]
    return models, list(done.findings), dict(done.generated)


def test_the_host_is_judged_as_it_is_resolved():
    text = "model_list: [{litellm_params: {model: gpt, api_base: os.environ/BASE}}]"
    assert run(text, {"BASE": OPENAI_AZURE})[0] == ["azure/gpt"]
    assert run(text, {"BASE": "https://api.example"})[0] == ["gpt"]


def test_a_model_that_is_a_reference_stays_one():
    text = "model_list: [{litellm_params: {model: os.environ/MODEL, api_version: v}}]"
    (model,), _, generated = run(text, {"MODEL": "gpt"})
    assert generated == {model.removeprefix("os.environ/"): "azure/gpt"}


def test_another_azure_service_is_a_warning_at_the_model():
    text = "model_list:\n- litellm_params:\n    api_base: https://n.services.ai.azure.com\n    model: gpt\n"
    models, (finding,), _ = run(text, {})
    assert models == ["gpt"]
    assert (finding.severity, finding.line, finding.path) == (
        Severity.WARNING,
        4,
        "model_list[0].litellm_params.model",
    )


@pytest.mark.parametrize("models", ["5", "[5, {}, {litellm_params: 5}, {litellm_params: {model: 5}}]"])
def test_what_is_no_model_is_left_to_the_rules(models):
    node, _ = parse(f"model_list: {models}", Path("c.yaml"))
    assert isinstance(node, MapNode)
    done = adapt(node, {})
    assert plain_value(done.root) == plain_value(node)


def test_a_base_that_is_no_url_has_no_host():
    assert host_of("http://[") == host_of("") == ""
    assert judge("gpt", api_base="http://[", has_api_version=False, provider="") is Verdict.LEAVE
