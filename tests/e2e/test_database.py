"""LiteLLM's own command with a database: who touches the schema, seen by a stand-in for the Prisma command.

There is no database and no query engine here, so every replica ends; before that it has done with the schema whatever
it is going to do.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from supervisor.events import Events
from supervisor.fleet.launch.forked import ForkedLauncher
from supervisor.litellm_config.build import build_generation
from supervisor.litellm_config.generation import Generation
from tests.real_replica import MASTER_KEY, Replicas, replicas

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

PASSWORD = "a-password-0d91"
PRISMA = """#!/bin/sh
echo "$@" >> "{log}"
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Replicas, Generation, Path]]:
    folder = tmp_path_factory.mktemp("db")
    log = folder / "prisma.log"
    (folder / "bin").mkdir()
    (folder / "bin" / "prisma").write_text(PRISMA.format(log=log))
    (folder / "bin" / "prisma").chmod(0o755)
    config = folder / "litellm.config.yaml"
    config.write_text("general_settings: {disable_prisma_schema_update: false}\n")
    environ = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", "/"),
        "LITELLM_MASTER_KEY": MASTER_KEY,
        "DATABASE_URL": f"postgresql://someone:{PASSWORD}@127.0.0.1:9/litellm",
    }
    generation = build_generation(config, environ, None)
    async with replicas(ForkedLauncher(Events()), folder) as pool:
        pool.config_path.write_text(generation.config_text)
        yield pool, generation, log


async def told_prisma(pool: Replicas, generation: Generation, log: Path) -> tuple[str, list[str]]:
    """What a replica had the Prisma command do until it ended, and what it wrote itself."""
    log.write_text("")
    replica = await pool.launch(pool.spec(generation.environment, warm=False))
    async with asyncio.timeout(90):
        status = await replica.process.wait()
    assert status.code not in {0, None}
    return log.read_text(), replica.lines


async def test_the_first_replica_brings_the_schema_up_to_date(made: tuple[Replicas, Generation, Path]):
    pool, generation, log = made
    assert generation.migrates
    asked, lines = await told_prisma(pool, generation, log)
    assert "migrate deploy" in asked
    assert any("prisma generate" in line for line in lines), "its log says why it ended"


async def test_the_others_leave_the_schema_alone_and_compare_nothing(made: tuple[Replicas, Generation, Path]):
    pool, generation, log = made
    asked, lines = await told_prisma(pool, generation.without_migration(), log)
    assert "migrate" not in asked
    assert PASSWORD not in asked
    assert any("prisma generate" in line for line in lines), "it came as far as the first one"
