"""What the rules say of LiteLLM is so: it loads the sound samples, and refuses what they say that it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.litellm_config import environment
from supervisor.litellm_config.build import examine
from tests.checks.test_clean import ENVIRON, FILES, REDIS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

BROKEN = Path(__file__).parents[1] / "checks" / "broken"
REFUSED = """
    cache-type callback-form--callbacks credential-entry fallback-form fallback-form--two key-management license-missing
    mcp-server--name mcp-server--transport redis-without-host redis-without-host--coordination routing-strategy
    unknown-setting--refused wrong-type--alias wrong-type--budget wrong-type--retry-policy
"""
LEFT_OUT = "unknown-provider unknown-provider--none unknown-provider--own wrong-type--rpm wrong-type--tags"

# Imports LiteLLM once, and loads each configuration in a child, because what one of them sets would stay.
LOAD = """
import asyncio, gc, json, os, socket, sys
gc.disable()  # a third of the import, and of what each child would do once more
resolve = socket.getaddrinfo

def loopback_only(host, *arguments, **options):
    if host not in ("127.0.0.1", "localhost", b"127.0.0.1"):
        raise socket.gaierror("no name is looked up here")
    return resolve(host, *arguments, **options)

socket.getaddrinfo = loopback_only
from litellm.proxy import proxy_server

async def load(file):
    router, _, _ = await proxy_server.ProxyConfig().load_config(router=None, config_file_path=file)
    return len(router.model_list)

for line in sys.stdin:
    case = json.loads(line)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.environ.update(case["environment"])
        try:
            models, error = asyncio.run(asyncio.wait_for(load(case["file"]), 60)), None
        except BaseException as raised:
            models, error = None, type(raised).__name__
        print("\\n" + json.dumps({"name": case["name"], "models": models, "error": error}), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """By the name of the file: how many models LiteLLM has loaded from it, or with which error it refused."""
    directory = tmp_path_factory.mktemp("loaded")
    cases = []
    for file in FILES:
        if file.stem == "vault" or file.stem in REDIS:
            continue  # LiteLLM would ask the vault, and wait for Redis
        generation, _ = examine(file, ENVIRON)
        assert generation is not None
        rendered = directory / file.name
        rendered.write_text(generation.config_text)
        cases.append({"name": file.stem, "file": str(rendered), "environment": generation.environment})
    names = (REFUSED + LEFT_OUT).split()
    cases += [{"name": name, "file": str(BROKEN / f"{name}.yaml"), "environment": {}} for name in names]
    own = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    result = subprocess.run(
        [sys.executable, "-c", LOAD],
        input="\n".join(map(json.dumps, cases)),
        env={**own, **environment.FIXED, "HOME": str(directory), "LITELLM_MASTER_KEY": "sk-0123456789abcdef"},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    found = [json.loads(line) for line in result.stdout.splitlines() if line.startswith('{"name"')]
    assert len(found) == len(cases), result.stdout[-2000:] + result.stderr[-4000:]
    return {outcome["name"]: outcome for outcome in found}


def test_litellm_loads_the_sound_samples_with_every_model(outcomes):
    for file in FILES:
        if file.stem in outcomes:
            written = file.read_text().count("- model_name:")
            assert outcomes[file.stem] == {"name": file.stem, "models": written, "error": None}


def test_litellm_refuses_what_a_rule_says_that_it_refuses(outcomes):
    accepted = [name for name in REFUSED.split() if outcomes[name]["error"] is None]
    assert accepted == []


def test_litellm_leaves_out_the_models_that_a_rule_says_it_leaves_out(outcomes):
    assert {name: outcomes[name]["models"] for name in LEFT_OUT.split()} == dict.fromkeys(LEFT_OUT.split(), 0)
