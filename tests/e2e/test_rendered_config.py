"""LiteLLM's own loader reads a rendered file as it was meant, and what is assumed about LiteLLM is still so.

Each test runs a small program in a child, with exactly the environment and working directory that a replica gets.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from supervisor.litellm_config.build import build_generation
from supervisor.litellm_config.environment import withheld
from supervisor.litellm_config.fields import Kind, kind_of
from supervisor.litellm_config.generation import Generation
from supervisor.litellm_config.lint.structure import TOP_LEVEL
from supervisor.litellm_config.master_key import objection_to
from supervisor.litellm_config.providers import PROVIDERS
from supervisor.litellm_config.section import _BLOCKED
from supervisor.litellm_config.write import write_rendered

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

GUIDE = Path(__file__).parents[2] / "config" / "litellm.config.yaml"
KEY = "0123abcd" * 4

LOAD = """
import asyncio, json, sys
import litellm
from litellm.proxy import proxy_server
async def main():
    router, models, general = await proxy_server.ProxyConfig().load_config(router=None, config_file_path=sys.argv[1])
    print()
    print(json.dumps({
        "models": [m["litellm_params"] for m in router.model_list] if router else [],
        "names": router.get_model_names() if router else [],
        "providers": [litellm.get_llm_provider(m["litellm_params"]["model"])[1] for m in router.model_list],
        "retries": router.num_retries,
        "fallbacks": router.fallbacks,
        "drop_params": litellm.drop_params,
        "callbacks": [repr(one) for one in litellm.callbacks],
        "master_key": proxy_server.master_key,
    }, default=str))
asyncio.run(main())
"""


def run(program: str, *arguments: str, generation: Generation) -> Any:
    frugal = f"import gc\ngc.disable()\n{program}"  # a third of the import's time
    done = subprocess.run(
        [sys.executable, "-P", "-c", frugal, *arguments],
        env=dict(generation.environment),
        cwd=generation.directory,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def load(tmp_path: Path, text: str, **environ: str) -> Any:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    (home / "c.yaml").write_text(text)
    base = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environ}
    generation = build_generation(home / "c.yaml", base, tmp_path / "state")
    runtime = tmp_path / "run"
    runtime.mkdir(exist_ok=True)
    return run(LOAD, str(write_rendered(generation, runtime)), generation=generation)


def test_litellm_reads_the_guides_file_as_azure_with_the_key_from_the_environment(tmp_path):
    seen = load(tmp_path, GUIDE.read_text(), AZURE_OPENAI_API_KEY=KEY)
    (params,) = seen["models"]
    assert params["model"] == "azure/gpt-4o-2024-08-06"
    assert params["api_key"] == KEY
    assert params["api_version"] == "2024-08-01-preview"
    assert params["api_base"] == "https://your-azure-openai-resource.openai.azure.com/"
    assert seen["names"] == ["gpt-4"]
    assert seen["providers"] == ["azure"]
    assert seen["drop_params"] is True


def test_litellm_sees_what_every_kind_of_reference_holds_and_the_operators_own_modules(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "beside.py").write_text("NAME = 'from beside'\n")
    (home / "certifi.py").write_text("raise AssertionError('a module of the operator shadowed a package')\n")
    (home / "hooks.py").write_text(
        "from pathlib import Path\n"
        "from litellm.integrations.custom_logger import CustomLogger\n"
        "import beside\n"
        "class Logger(CustomLogger):\n"
        "    def __repr__(self):\n"
        "        return f'{beside.NAME} in {Path(__file__).name} of {Path(__file__).parent.name}'\n"
        "handler = Logger()\n"
    )
    text = """\
model_list:
  - model_name: a
    litellm_params:
      model: ${DEPLOYMENT}
      api_base: https://${RESOURCE}.openai.azure.com
      api_key: ${DIGITS_KEY}
      rpm: ${LIMIT}
      tags: ["${TAG}", os.environ/TAG]
router_settings:
  num_retries: os.environ/RETRIES
  fallbacks: [{a: ["${FALLBACK}"]}]
litellm_settings:
  callbacks: hooks.handler
general_settings:
  master_key: ${MY_MASTER}
"""
    seen = load(
        tmp_path,
        text,
        DEPLOYMENT="gpt-x",
        RESOURCE="resource",
        DIGITS_KEY="12345678",
        LIMIT="7",
        TAG="blue",
        RETRIES="4",
        FALLBACK="b",
        MY_MASTER="sk-my-own-0123456789",
    )
    (params,) = seen["models"]
    assert params["model"] == "azure/gpt-x"
    assert params["api_base"] == "https://resource.openai.azure.com"
    assert params["api_key"] == "12345678"
    assert params["rpm"] == 7
    assert params["tags"] == ["blue", "blue"]
    assert seen["retries"] == 4
    assert seen["fallbacks"] == [{"a": ["b"]}]
    assert seen["callbacks"] == ["from beside in hooks.py of home"]
    assert seen["master_key"] == "sk-my-own-0123456789"


ANSWER = """
import asyncio, json, sys
from litellm.proxy import proxy_server
async def main():
    router, *_ = await proxy_server.ProxyConfig().load_config(router=None, config_file_path=sys.argv[1])
    asked = {"messages": [{"role": "user", "content": "hello"}]}
    seen = {}
    for name in router.get_model_names():
        whole = await router.acompletion(model=name, **asked)
        stream = await router.acompletion(model=name, stream=True, **asked)
        parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
        seen[name] = [whole.choices[0].message.content, "".join(parts), len([part for part in parts if part])]
    print()
    print(json.dumps(seen))
asyncio.run(main())
"""


def test_the_demo_answers_and_streams_with_no_key_and_no_network(tmp_path):
    generation = build_generation(GUIDE.parent / "demo.yaml", {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, None)
    seen = run(ANSWER, str(write_rendered(generation, tmp_path)), generation=generation)
    assert set(seen) == {"demo", "gpt-4"}
    for whole, streamed, parts in seen.values():
        assert whole == streamed
        assert "LiteLLM" in whole or "demo" in whole
        assert parts > 1


ASSUMPTIONS = """
import json, re, inspect
import click
import litellm
from litellm.llms.openai_like.json_loader import JSONProviderRegistry
from litellm.proxy import proxy_cli, proxy_server
from litellm.proxy.auth import master_key_boot_check as check
from litellm.router import Router
source = inspect.getsource(proxy_server.ProxyConfig)
variables = [name for option in proxy_cli.run_server.params for name in (option.envvar,) if name]
print()
print(json.dumps({
    "providers": sorted({*(getattr(p, "value", p) for p in litellm.provider_list), *JSONProviderRegistry.list_providers()}),
    "blocked": sorted(proxy_server.ProxyConfig._BLOCKED_ENV_KEYS),
    "known_keys": sorted(check.PUBLICLY_KNOWN_MASTER_KEY_SHA256_DIGESTS),
    "sections": sorted(set(re.findall(r'\\bconfig\\.get\\(\\s*"([a-z_]+)"', source))),
    "variables": sorted(variables),
    "router": sorted(inspect.signature(Router.__init__).parameters),
}))
"""


def test_the_tables_about_litellm_are_those_of_the_installed_one(tmp_path):
    generation = build_generation(GUIDE.parent / "demo.yaml", {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, None)
    seen = run(ASSUMPTIONS, generation=generation)
    assert set(seen["providers"]) == PROVIDERS
    assert set(seen["blocked"]) == _BLOCKED
    assert len(seen["known_keys"]) == 1
    refused = objection_to("sk-1234")
    assert refused is not None
    assert refused.code == "master-key-known"
    # These two are keys of another mapping that is called `config` there.
    assert set(seen["sections"]) - {"force_reload", "interval_hours"} <= set(TOP_LEVEL)
    # The database's migrations are the operator's to steer; everything else of the command line is litesup's.
    assert {name for name in seen["variables"] if not withheld(name)} == {"USE_V2_MIGRATION_RESOLVER"}
    numbers = {"num_retries", "timeout", "allowed_fails", "cooldown_time", "retry_after", "max_fallbacks"}
    assert numbers <= set(seen["router"])
    assert {kind_of(("router_settings", name)) for name in numbers} == {Kind.NUMBER}
