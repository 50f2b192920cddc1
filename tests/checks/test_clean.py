"""Configurations written from what LiteLLM documents: nothing false is said about them."""

from pathlib import Path

import pytest

from supervisor.errors import Severity
from supervisor.litellm_config.build import examine
from supervisor.litellm_config.lint import Surroundings
from supervisor.litellm_config.prices import litellm_package, read_prices

ROOT = Path(__file__).parents[2]
FILES = sorted((Path(__file__).parent / "clean").glob("*.yaml"))
SHIPPED = sorted(file for file in (ROOT / "config").glob("*.yaml") if file.name != "litesup.yaml")
PACKAGE = litellm_package()
AROUND = Surroundings(replicas=3, prices=read_prices(PACKAGE) if PACKAGE else None)
SECRETS = """
    ANTHROPIC_API_KEY AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AZURE_API_KEY_EU AZURE_API_KEY_US AZURE_CLIENT_ID
    AZURE_CLIENT_SECRET AZURE_OPENAI_API_KEY AZURE_OPENAI_API_KEY_2 AZURE_TENANT_ID COHERE_API_KEY GROQ_API_KEY
    LANGFUSE_PUBLIC_KEY LANGFUSE_SECRET OPENAI_API_KEY OPENAI_API_KEY_2 REDIS_PASSWORD ZAPIER_KEY
"""
ENVIRON = dict.fromkeys(SECRETS.split(), "0123abcd" * 4) | {
    "AZURE_API_BASE_EU": "https://eu.openai.azure.com",
    "AZURE_API_BASE_US": "https://us.openai.azure.com/",
    "AZURE_OPENAI_ENDPOINT": "https://one.openai.azure.com",
    "AZURE_OPENAI_ENDPOINT_2": "https://two.openai.azure.com",
    "DATABASE_URL_OF_LITELLM": "postgresql://litellm:0123abcd@127.0.0.1/litellm",
    "LITELLM_KEY": "sk-0123abcd0123abcd",
    "REDIS_PORT": "6379",
    "ZAPIER_URL": "http://127.0.0.1:9/sse",
}
REDIS = {
    "caching": {"REDIS_HOST": "127.0.0.1"},
    "routing": {"REDIS_HOST": "127.0.0.1"},
    "redis": {"REDIS_HOST": "127.0.0.1"},
    "budgets": {"REDIS_URL": "redis://127.0.0.1"},
}
# Notes that say what is done, or what is so.
TRUE = {
    "azure-adapted",
    "database-connections",
    "environment-moved",
    "limit-per-replica",
    "reference-adapted",
    "reference-default",
    "reference-in-list",
    "reference-in-text",
    "reference-in-vault",
    "reference-typed",
}


@pytest.mark.parametrize("file", [*FILES, *SHIPPED], ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_nothing_false_is_said_about_a_sound_configuration(file):
    generation, findings = examine(file, ENVIRON | REDIS.get(file.stem, {}), AROUND)
    said = "\n".join(map(str, findings))
    assert generation is not None, said
    assert {finding.severity for finding in findings} <= {Severity.NOTE}, said
    assert {finding.code for finding in findings} <= TRUE, said


def test_there_are_a_dozen_of_them():
    assert len(FILES) >= 12
