from __future__ import annotations

from typing import Any

import pytest
import yaml

from supervisor.deep_check.asking import question
from supervisor.deep_check.plan import Plan, plan
from supervisor.deep_check.wildcards import concrete, deployment_for

ENTRY = {"model": "openai/gpt-4o", "api_key": "os.environ/KEY"}


def made(environment: dict[str, str] | None = None, **sections: Any) -> tuple[Plan, Any]:
    planned = plan(yaml.safe_dump(sections), environment or {})
    return planned, yaml.safe_load(planned.text)


def entry(name: str = "gpt", info: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {**ENTRY, **params}, **({"model_info": info} if info else {})}


def test_what_could_only_be_tried_by_reaching_for_it_is_cut_and_said():
    planned, document = made(
        {"DATABASE_URL": "postgresql://u:secret@h/d", "REDIS_HOST": "r", "KEY": "k"},
        model_list=[entry()],
        litellm_settings={"cache": True, "cache_params": {"type": "redis"}, "drop_params": True, "callbacks": ["a.b"]},
        router_settings={"redis_host": "h", "num_retries": 2},
        general_settings={"database_url": "os.environ/DATABASE_URL", "alerting": ["slack"], "custom_auth": "a.b"},
    )
    assert document["litellm_settings"] == {"drop_params": True, "callbacks": ["a.b"]}
    assert document["router_settings"] == {"num_retries": 2}
    assert document["general_settings"] == {"custom_auth": "a.b", "disable_model_info_refresh": True}
    assert planned.environment == {"KEY": "k"}
    said = "; ".join(planned.cut)
    for name in ("cache_params", "redis_host", "database_url", "alerting", "DATABASE_URL", "REDIS_HOST"):
        assert name in said
    assert "secret" not in said


def test_nothing_is_said_to_be_cut_where_nothing_is():
    assert made(model_list=[entry()])[0].cut == ()


def test_what_only_a_vault_knows_gets_a_placeholder():
    planned, _ = made(model_list=[entry()], general_settings={"key_management_system": "azure_key_vault"})
    assert planned.environment["KEY"]
    assert "KEY" not in made(model_list=[entry()])[0].environment


def test_a_model_is_asked_by_its_own_name_and_one_of_several_by_a_name_of_its_own():
    planned, document = made(model_list=[entry("alone"), entry("shared"), entry("shared", rpm=1)])
    assert [(one.index, one.name) for one in planned.models] == [(0, "alone"), (1, "shared"), (2, "shared")]
    asked_by = [one.asked_by for one in planned.models]
    assert asked_by[0] == "alone"
    names = [one["model_name"] for one in document["model_list"]]
    assert names[:3] == ["alone", "shared", "shared"]
    assert sorted(names[3:]) == sorted(asked_by[1:])
    assert document["model_list"][-1]["litellm_params"]["rpm"] == 1
    assert len({one["model_info"]["id"] for one in document["model_list"]}) == 5


def test_callbacks_and_guardrails_of_one_model_are_cut_too():
    _, document = made(model_list=[entry(success_callback=["langfuse"], langfuse_secret="x", guardrails=["g"])])
    assert document["model_list"][0]["litellm_params"] == ENTRY


def test_what_only_chooses_among_others_is_not_asked():
    planned, _ = made(model_list=[entry("auto", model="auto_router/x")])
    assert (planned.models, [one.name for one in planned.unasked]) == ((), ["auto"])


def test_a_teams_model_is_asked_by_its_number():
    planned, document = made(model_list=[entry(info={"team_id": "t"})])
    assert planned.models[0].asked_by == document["model_list"][0]["model_info"]["id"]


@pytest.mark.parametrize("listed", [None, 5, "x", [5], [{"model_name": "a"}], [{"litellm_params": []}]])
def test_what_is_no_model_is_left_to_litellm(listed: object):
    planned, document = made(model_list=listed)
    assert planned.models == ()
    assert document["model_list"] == listed


def test_a_plan_shows_no_secret():
    assert "hunter2hunter2" not in repr(
        made({"KEY": "hunter2hunter2"}, model_list=[entry(api_key="hunter2hunter2")])[0]
    )


@pytest.mark.parametrize(
    ("name", "model", "expected"),
    [
        ("openai/*", "openai/*", "openai/gpt-4o-mini"),
        ("*", "openrouter/*", "openrouter/openai/gpt-4o-mini"),
        ("claude-*", "anthropic/claude-*", "anthropic/claude-3-5-haiku-20241022"),
        ("team-*", "openai/*", "openai/check"),
        ("anything-*", "openai/gpt-4o", "openai/gpt-4o"),
        ("gpt", "bedrock/*", "bedrock/anthropic.claude-3-haiku-20240307-v1:0"),
    ],
)
def test_a_wildcard_is_taken_for_something_plausible(name: str, model: str, expected: str):
    assert deployment_for(name, model) == expected


def test_no_asterisk_is_left_wherever_it_stood():
    for pattern in ("*", "*/x", "x/*/y", "openai/*-mini", "**"):
        assert "*" not in concrete(pattern)


@pytest.mark.parametrize("mode", ["chat", "completion", "embedding", "image_generation", "rerank", "responses"])
def test_each_kind_of_model_is_asked_its_own_kind_of_question(mode: str):
    asked = question(mode, "gpt")
    assert asked is not None
    assert b'"model": "gpt"' in asked.body


def test_a_recording_is_sent_as_a_form_and_what_would_begin_something_is_not_asked():
    asked = question("audio_transcription", "gpt")
    assert asked is not None
    assert b"RIFF" in asked.body
    assert question("batch", "gpt") is None
    assert question("realtime", "gpt") is None
