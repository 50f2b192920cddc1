"""Where a replica looks for a key is known to the balancer, which has to put one there."""

from __future__ import annotations

from pathlib import Path

from supervisor.litellm_config.build import build_generation

MODELS = "model_list:\n  - model_name: a\n    litellm_params: {model: openai/a, api_key: none}\n"


def test_the_header_that_the_configuration_names_is_known(tmp_path: Path) -> None:
    source = tmp_path / "litellm.config.yaml"
    source.write_text(MODELS + "general_settings: {litellm_key_header_name: X-Key}\n")
    assert build_generation(source, {}, tmp_path).key_header == "X-Key"


def test_without_one_it_is_authorization(tmp_path: Path) -> None:
    source = tmp_path / "litellm.config.yaml"
    source.write_text(MODELS)
    assert build_generation(source, {}, tmp_path).key_header == "Authorization"
