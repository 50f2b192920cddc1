"""A warm-up leaves LiteLLM's modules as they were: all of their globals are compared, not only those that are put back."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from supervisor.fleet.launch.plain import LITELLM
from supervisor.fleet.launch.stub import WarmUpStub

LOOK = """
import asyncio, importlib.util, json, os, sys
import litellm
import litellm.main, litellm.router, litellm.utils
from litellm.proxy import proxy_server

spec = importlib.util.spec_from_file_location("litesup_warmup", sys.argv[1])
warmup = importlib.util.module_from_spec(spec)
spec.loader.exec_module(warmup)
MODULES = ("litellm", "litellm.main", "litellm.proxy.proxy_server", "litellm.router", "litellm.utils")

def copied(value):
    return type(value)(value) if type(value) in (list, dict, set) else None

def contents():
    return {(m, n): (v, copied(v)) for m in MODULES for n, v in vars(sys.modules[m]).items() if not n.startswith("__")}

def caches():
    return [sorted(space["cache_dict"]) for space, _ in warmup._namespaces() if "cache_dict" in space]

before, cached = contents(), caches()
asyncio.run(warmup._requests({"api_base": sys.argv[2] + "/v1"}))
after = contents()
changed = [
    f"{module}.{name}"
    for (module, name), (value, copy) in before.items()
    if after[module, name][0] is not value or after[module, name][1] != copy
]
print(json.dumps({"changed": sorted(changed), "caches": caches() == cached}), flush=True)
os._exit(0)
"""

MEMOS = {"litellm.utils._CustomGuardrail", "litellm.utils._CustomLogger", "litellm.utils._LLMCachingHandler"}
"""Names for classes, filled in when they are first needed: nothing of a request is in them."""


async def test_a_warm_up_puts_back_every_global_that_it_changes() -> None:
    stub = WarmUpStub()
    await stub.start()
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", LOOK, str(Path(LITELLM).with_name("warmup.py")), stub.url_for(1)),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 100)
    finally:
        await stub.close()
    found = json.loads(output.splitlines()[-1])
    assert set(found["changed"]) <= MEMOS
    assert found["caches"]
