"""The load of the measurement of streams, without a proxy: every event that is written is read, and counted."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration


async def test_every_event_of_every_step_arrives(short_dir: Path):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.stream_load", "--seconds", "0.2", "--watch", str(os.getpid())),
        *("--steps", "2x50", "10x20", "--", *(str(short_dir / f"u{number}.sock") for number in range(2))),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    told = [json.loads(line) for line in output.splitlines()]
    assert [each["streams"] for each in told] == [2, 10]
    for each in told:
        assert each["sent"] > 0
        assert each["arrived"] == each["sent"]
        assert 0 < each["median"] <= each["p99"] <= each["worst"]
        assert each["pss"] > 0
