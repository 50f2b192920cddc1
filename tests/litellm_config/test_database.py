from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.errors import ConfigurationRefused
from supervisor.litellm_config import database
from supervisor.litellm_config.build import build_generation, examine
from supervisor.litellm_config.generation import Generation
from supervisor.litellm_config.lint import Surroundings

KEYS = {"LITELLM_MASTER_KEY": "sk-0f1e2d3c4b5a69788796a5b4"}
URL = "postgresql://someone:secret@db/litellm"


@pytest.fixture
def built(tmp_path: Path):
    def build(general: str = "{}", **environ: str) -> Generation:
        file = tmp_path / "litellm.config.yaml"
        file.write_text(f"model_list: []\ngeneral_settings: {general}\n")
        return build_generation(file, KEYS | environ, None)

    return build


@pytest.mark.parametrize(
    ("general", "environ", "migrates"),
    [
        ("{}", {}, False),
        ("{}", {"DATABASE_URL": ""}, False),
        ("{}", {"DATABASE_URL": URL}, True),
        ("{}", {"DIRECT_URL": URL}, True),
        ("{}", {"DATABASE_HOST": "db", "DATABASE_USERNAME": "someone"}, False),
        ("{}", {"DATABASE_HOST": "db", "DATABASE_USERNAME": "someone", "DATABASE_NAME": "litellm"}, True),
        ("{}", {"AZURE_POSTGRESQL_AUTH": "True"}, True),
        (f"{{database_url: '{URL}'}}", {}, True),
        ("{database_url: os.environ/MY_DB}", {"MY_DB": URL}, True),
        ("{database_url: '${MY_DB}'}", {"MY_DB": URL}, True),
        ("{}", {"DATABASE_URL": URL, "DISABLE_SCHEMA_UPDATE": "True"}, False),
        ("{}", {"DATABASE_URL": URL, "DISABLE_SCHEMA_UPDATE": "1"}, True),  # LiteLLM knows `true` only
        ("{disable_prisma_schema_update: true}", {"DATABASE_URL": URL}, False),
        ("{disable_prisma_schema_update: false}", {"DATABASE_URL": URL, "DISABLE_SCHEMA_UPDATE": "true"}, True),
    ],
)
def test_a_generation_migrates_where_litellm_would(built, general: str, environ: dict[str, str], migrates: bool):
    assert built(general, **environ).migrates is migrates


def test_the_others_are_told_not_to_and_are_the_same_generation(built):
    generation = built(DATABASE_URL=URL)
    other = generation.without_migration()
    assert "DISABLE_SCHEMA_UPDATE" not in generation.environment
    told = {"DISABLE_SCHEMA_UPDATE": "true", "LITESUP_SCHEMA_IS_CURRENT": "1"}
    assert other.environment == {**generation.environment, **told}
    assert other.digest == generation.digest


def test_without_a_database_nobody_is_told_anything(built):
    generation = built()
    assert generation.without_migration() is generation


def test_a_written_switch_that_would_win_over_the_variable_is_left_out_and_said(built):
    generation = built("{disable_prisma_schema_update: false}", DATABASE_URL=URL)
    assert "disable_prisma_schema_update: " not in generation.config_text
    assert "schema-update" in {finding.code for finding in generation.adaptations}
    kept = built("{disable_prisma_schema_update: true}", DATABASE_URL=URL)
    assert "disable_prisma_schema_update: true" in kept.config_text


@pytest.mark.parametrize(
    ("general", "environ", "connections"),
    [
        ("{}", {}, database.DEFAULT_LIMIT),
        ("{database_connection_pool_limit: 25}", {}, 25),
        ("{database_connection_pool_limit: os.environ/LIMIT}", {"LIMIT": "7"}, 7),
        ("{database_connection_pool_limit: many}", {}, None),
        ("{}", {"DATABASE_URL_READ_REPLICA": URL}, 2 * database.DEFAULT_LIMIT),
    ],
)
def test_the_connections_of_one_replica(tmp_path: Path, general: str, environ: dict[str, str], connections: int | None):
    from supervisor.litellm_config import include

    file = tmp_path / "litellm.config.yaml"
    file.write_text(f"general_settings: {general}\n")
    root = include.load(file).root
    assert root is not None
    found = database.database_of(root, {"DATABASE_URL": URL} | environ)
    assert found is not None
    assert found.connections == connections


def codes(tmp_path: Path, general: str, environ: dict[str, str]) -> dict[str, str]:
    file = tmp_path / "litellm.config.yaml"
    file.write_text(f"model_list: []\ngeneral_settings: {general}\n")
    _, findings = examine(file, environ, Surroundings(replicas=3))
    return {finding.code: finding.message for finding in findings}


@pytest.mark.parametrize(
    ("general", "environ", "refused"),
    [
        ("{}", {"DATABASE_URL": URL}, True),
        ("{}", {}, False),
        ("{}", {"DATABASE_URL": URL, "LITELLM_SALT_KEY": "sk-salt"}, False),
        ("{}", {"DATABASE_URL": URL} | KEYS, False),
        ("{master_key: os.environ/MINE}", {"DATABASE_URL": URL, "MINE": KEYS["LITELLM_MASTER_KEY"]}, False),
    ],
)
def test_a_key_of_our_own_making_does_not_encrypt_what_is_stored(
    tmp_path: Path, general: str, environ: dict[str, str], refused: bool
):
    assert ("salt-key-missing" in codes(tmp_path, general, environ)) is refused
    file = tmp_path / "litellm.config.yaml"
    if refused:
        with pytest.raises(ConfigurationRefused, match="salt-key-missing"):
            build_generation(file, environ, tmp_path)
        assert not (tmp_path / "master-key").exists()


def test_connections_are_counted_for_one_replica_more(tmp_path: Path):
    message = codes(tmp_path, "{database_connection_pool_limit: 25}", {"DATABASE_URL": URL} | KEYS)[
        "database-connections"
    ]
    assert "3 replicas" in message
    assert "up to 100 connections" in message
    assert "secret" not in message


def test_what_only_the_key_management_knows_is_a_database_too(built):
    assert built("{database_url: os.environ/IN_THE_VAULT, key_management_system: azure_key_vault}").migrates
