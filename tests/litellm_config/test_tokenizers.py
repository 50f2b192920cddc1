from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.litellm_config import environment
from supervisor.litellm_config.build import build_generation

KEY = {"LITELLM_MASTER_KEY": "sk-of-a-test-long-enough-0123456789"}


def told(directory: Path, text: str) -> str | None:
    config = directory / "litellm.config.yaml"
    config.write_text(text)
    return build_generation(config, KEY, None).environment.get(environment.TOKENIZERS)


def model(name: str) -> str:
    return f"model_list:\n  - model_name: any\n    litellm_params: {{model: {name}, api_key: k, api_base: http://x}}\n"


@pytest.mark.parametrize(
    "name",
    [
        "azure/gpt-4o",
        "azure/gpt-4o-2024-08-06",
        "openai/chatgpt-4o-latest",
        "openai/gpt-4.1-mini",
        "openai/gpt-5",
        "azure/chat-gpt4o-prod",
        "openai/o1",
        "openai/o3-mini",
        "azure/GPT-4o",
    ],
)
def test_a_model_with_the_newer_vocabulary_has_its_tokenizer_loaded_ahead(tmp_path: Path, name: str):
    assert told(tmp_path, model(name)) == "o200k_base"


@pytest.mark.parametrize(
    "name", ["azure/gpt-4", "openai/gpt-4-turbo", "openai/gpt-3.5-turbo", "anthropic/claude-3-o12"]
)
def test_other_models_cost_no_memory_for_it(tmp_path: Path, name: str):
    assert told(tmp_path, model(name)) is None


def test_what_a_deployment_is_based_on_counts_too(tmp_path: Path):
    text = model("azure/chat") + "    model_info: {base_model: azure/gpt-4o}\n"
    assert told(tmp_path, text) == "o200k_base"


def test_a_configuration_without_models_needs_none(tmp_path: Path):
    assert told(tmp_path, "model_list: []\n") is None


def test_nobody_sets_it_from_outside(tmp_path: Path):
    config = tmp_path / "litellm.config.yaml"
    config.write_text("model_list: []\n")
    generation = build_generation(config, KEY | {environment.TOKENIZERS: "gpt2"}, None)
    assert environment.TOKENIZERS not in generation.environment
