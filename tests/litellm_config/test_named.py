"""Which models a replica has to serve, and the refusal to lose them all."""

from __future__ import annotations

import pytest

from supervisor.litellm_config.named import named_models, shown


def entry(name: str, model: str = "openai/x", rest: str = "") -> str:
    return f"model_list:\n  - {{model_name: '{name}', litellm_params: {{model: '{model}'}}{rest}}}\n"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (entry("gpt-4"), {"gpt-4"}),
        (entry("*"), set()),
        (entry("openai/*", "openai/*"), set()),
        (entry("os.environ/NAME"), set()),
        (entry("gpt-4", rest=", model_info: {team_id: t}"), set()),
        (entry("gpt-4", rest=", model_info: {supported_environments: [staging]}"), set()),
        (entry("gpt-4", rest=", model_info: {base_model: x}"), {"gpt-4"}),
        ("model_list: []\n", set()),
        ("model_list: [7]\n", set()),
        ("{}\n", set()),
        ("", set()),
    ],
)
def test_what_litellm_lists_if_it_takes_every_entry(text: str, names: set[str]) -> None:
    assert named_models(text) == names


def test_many_names_do_not_make_a_long_sentence() -> None:
    assert shown(frozenset(f"m{number}" for number in range(8))) == "`m0`, `m1`, `m2`, `m3`, `m4` and 3 more"
