"""How a start goes: well, with the demo, and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.command import run
from tests.daemon import GUIDE, Daemon, clean_environment
from tests.e2e.conftest import AZURE_KEY
from tests.fake_azure import FakeAzure

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT: dict[str, Any] = {"model": "gpt-4", "messages": [{"role": "user", "content": "ping"}]}

CALLBACK = '''\
"""Writes down every hook that LiteLLM calls."""
import pathlib
from litellm.integrations.custom_logger import CustomLogger


class Tattle(CustomLogger):
    def _note(self, name):
        with pathlib.Path(__file__).with_name("tattle.txt").open("a") as file:
            file.write(name + "\\n")

    def log_pre_api_call(self, *arguments, **named):
        self._note("pre api call")

    async def async_log_pre_api_call(self, *arguments, **named):
        self._note("async pre api call")

    async def async_pre_call_hook(self, user_api_key_dict, cache, data, call_type):
        self._note("pre call hook")
        return data

    async def async_log_success_event(self, *arguments, **named):
        self._note("success")

    async def async_log_failure_event(self, *arguments, **named):
        self._note("failure")


tattle = Tattle()
'''


async def refused(arguments: list[str], environment: dict[str, str], folder: Path) -> str:
    """What `start` says when it refuses the configuration."""
    finished = await run(["start", *arguments, "--port", "0"], environment, folder)
    assert finished.code == 3, finished.output
    assert "Traceback" not in finished.output
    return finished.stderr


async def test_no_warm_up_reaches_the_provider_a_callback_or_the_list_of_models(
    azure: FakeAzure, client: aiohttp.ClientSession
):
    config = GUIDE.format(url=azure.url).replace(
        "  drop_params: True", "  drop_params: True\n  callbacks: tattle.tattle"
    )
    daemon = Daemon(config, replicas=2, environment={"AZURE_OPENAI_API_KEY": AZURE_KEY})
    (daemon.folder / "tattle.py").write_text(CALLBACK)
    notes = daemon.folder / "tattle.txt"
    async with daemon:
        assert not daemon.find("replica_warm_up_incomplete")
        assert azure.count == 0
        assert not notes.exists(), notes.read_text()
        async with client.get(f"{daemon.url}/v1/models") as response:
            assert [model["id"] for model in (await response.json())["data"]] == ["gpt-4"]
        # The callback is in place all the same: it hears of a client's request.
        async with client.post(f"{daemon.url}/chat/completions", json=CHAT) as response:
            assert response.status == 200, await response.text()
        assert azure.count == 1
        assert "pre call hook" in notes.read_text()


async def test_the_demo_answers_with_no_key_and_no_network(client: aiohttp.ClientSession):
    async with Daemon(None, replicas=2, flags=["--demo"]) as daemon:
        async with client.get(f"{daemon.url}/v1/models") as response:
            name = (await response.json())["data"][0]["id"]
        async with client.post(f"{daemon.url}/chat/completions", json=CHAT | {"model": name}) as response:
            document = await response.json()
        assert response.status == 200, document
        assert document["choices"][0]["message"]["content"]


async def test_the_plain_launcher_serves_as_the_fork_server_does(azure: FakeAzure, client: aiohttp.ClientSession):
    config = GUIDE.format(url=azure.url)
    settings = {"replicas": {"launcher": "plain"}}
    environment = {"AZURE_OPENAI_API_KEY": AZURE_KEY}
    async with Daemon(config, replicas=2, environment=environment, settings=settings) as daemon:
        assert (await daemon.status())["daemon"]["launcher"] == "plain"
        assert azure.count == 0
        async with client.post(f"{daemon.url}/chat/completions", json=CHAT) as response:
            assert response.status == 200, await response.text()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return clean_environment(tmp_path) | {"LITESUP_RUNTIME_DIR": str(tmp_path / "run")}


async def test_a_missing_variable_is_refused_with_its_line(tmp_path: Path, environment: dict[str, str]):
    (tmp_path / "litellm.config.yaml").write_text(GUIDE.format(url="http://127.0.0.1:9"))
    said = await refused([], environment, tmp_path)
    assert "AZURE_OPENAI_API_KEY" in said
    assert "litellm.config.yaml:7" in said


async def test_all_problems_of_a_configuration_are_told_at_once(tmp_path: Path, environment: dict[str, str]):
    text = GUIDE.format(url="http://${FIRST_UNSET}").replace("drop_params: True", "drop_params: ${SECOND_UNSET}")
    (tmp_path / "litellm.config.yaml").write_text(text)
    said = await refused([], environment, tmp_path)
    assert "AZURE_OPENAI_API_KEY" in said
    assert "FIRST_UNSET" in said
    assert "SECOND_UNSET" in said


async def test_broken_yaml_is_refused_with_its_line(tmp_path: Path, environment: dict[str, str]):
    (tmp_path / "litellm.config.yaml").write_text("model_list:\n  - model_name: a\n litellm_params: {\n")
    assert "litellm.config.yaml:3" in await refused([], environment, tmp_path)


async def test_an_absent_file_is_refused_with_what_to_do(tmp_path: Path, environment: dict[str, str]):
    said = await refused(["--config", "nowhere.yaml"], environment, tmp_path)
    assert "nowhere.yaml" in said


async def test_a_weak_master_key_is_refused_before_litellm_would(tmp_path: Path, environment: dict[str, str]):
    (tmp_path / "litellm.config.yaml").write_text(GUIDE.format(url="http://127.0.0.1:9"))
    keys = {"AZURE_OPENAI_API_KEY": "any", "LITELLM_MASTER_KEY": "sk-1234"}
    said = await refused([], environment | keys, tmp_path)
    assert "LITELLM_MASTER_KEY" in said
    assert "sk-1234" not in said
