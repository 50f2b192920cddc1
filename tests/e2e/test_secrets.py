"""No secret is in anything that litesup prints, answers or leaves for others to read."""

from __future__ import annotations

import os
import secrets
import signal
import stat
from typing import Any

import aiohttp
import pytest

from tests.daemon import GUIDE, Daemon
from tests.fake_azure import Answer, FakeAzure

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT: dict[str, Any] = {"model": "gpt-4", "messages": [{"role": "user", "content": "ping"}]}


async def test_no_secret_shows_anywhere_whatever_goes_wrong(
    azure: FakeAzure, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
):
    azure_key = f"azure-{secrets.token_hex(16)}"
    master_key = f"sk-{secrets.token_hex(16)}"
    client_key = f"sk-{secrets.token_hex(16)}"
    monkeypatch.setattr(azure, "api_key", azure_key)
    config = GUIDE.format(url=azure.url)
    environment = {"AZURE_OPENAI_API_KEY": azure_key, "LITELLM_MASTER_KEY": master_key}
    texts: dict[str, str] = {}
    async with Daemon(config, replicas=2, environment=environment) as daemon:
        chat = f"{daemon.url}/chat/completions"

        async def ask(*statuses: int, **how: Any) -> None:
            async with client.post(chat, json=CHAT, **how) as response:
                texts[f"answer {len(texts)}"] = await response.text()
                assert response.status in statuses, await response.text()

        await ask(200)
        await ask(400, 401, headers={"Authorization": f"Bearer {client_key}"})
        azure.answer = Answer(status=400)
        await ask(400)
        azure.answer = Answer()
        monkeypatch.setattr(azure, "api_key", "changed")
        await ask(401)
        daemon.save(config.replace("drop_params: True", "drop_params: ["))
        await daemon.event("configuration_change_refused")
        victim = await daemon.replica(1)
        since = len(daemon.events)
        os.kill(victim["pid"], signal.SIGKILL)
        await daemon.event("replica_ready", slot=1, since=since)

        for arguments in (["status", "--json"], ["status"], ["logs"], ["render", str(daemon.config)]):
            texts[" ".join(arguments)] = (await daemon.run(*arguments)).output
        texts["status of the admin port"] = await (await client.get(f"{daemon.admin_url}/status")).text()
        texts["metrics"] = await (await client.get(f"{daemon.admin_url}/metrics")).text()
        for process in daemon.processes():
            texts[f"command line of {process.pid}"] = " ".join(process.cmdline())
        for path in daemon.runtime_dir.rglob("*"):
            if path.is_file():
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
                texts[path.name] = path.read_text(errors="replace")
        assert stat.S_IMODE(daemon.runtime_dir.stat().st_mode) == 0o700
        assert (await daemon.run("stop")).code == 0
        await daemon.wait()
    texts["everything printed"] = daemon.text

    for name, value in {"azure": azure_key, "master": master_key, "client": client_key}.items():
        shown = [place for place, text in texts.items() if value in text]
        assert not shown, f"the {name} key shows in {shown}"
