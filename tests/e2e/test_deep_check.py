"""`litesup check --deep` with the real LiteLLM. Each run of it takes as long as LiteLLM's import, so few ask much."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.deep_check.plan import plan
from supervisor.deep_check.run import run
from supervisor.deep_check.verdict import judge
from supervisor.litellm_config import include
from supervisor.litellm_config.build import build_generation

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
KEY = "azure-key-0123abcd4567"
TYPED = "typed-key-0123abcd4567"


def deep(file: Path, *options: str, **environ: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.cli.main", "check", str(file), "--deep", "--timeout", "240", *options],
        env={"PATH": os.environ["PATH"], "HOME": str(file.parent), "PYTHONPATH": str(ROOT), **environ},
        cwd=file.parent,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    shown = done.stdout + done.stderr
    for secret in environ.values():
        assert secret not in shown or len(secret) < 8
    assert TYPED not in shown
    return done.returncode, done.stdout if "--json" in options else shown


def findings(document: dict[str, Any], severity: str) -> list[tuple[str, str]]:
    return [(one["code"], one["path"]) for one in document["findings"] if one["severity"] == severity]


def test_the_guides_file_would_ask_azure(tmp_path: Path):
    file = tmp_path / "litellm.config.yaml"
    file.write_text((ROOT / "config" / "litellm.config.yaml").read_text())
    status, shown = deep(file, AZURE_OPENAI_API_KEY=KEY)
    assert status == 0, shown
    url = "https://your-azure-openai-resource.openai.azure.com/openai/deployments/gpt-4o-2024-08-06/chat/completions"
    assert shown.splitlines()[0] == f"gpt-4: would POST {url}?api-version=2024-08-01-preview"
    assert "LiteLLM 1." in shown.splitlines()[1]


def test_the_demo_answers_by_itself(tmp_path: Path):
    file = tmp_path / "demo.yaml"
    file.write_text((ROOT / "config" / "demo.yaml").read_text())
    status, shown = deep(file, "--json")
    document = json.loads(shown)
    assert (status, document["ok"]) == (0, True), shown
    assert {one["verdict"] for one in document["deep"]["models"]} == {"answers by itself"}
    assert not findings(document, "error") + findings(document, "warning")


@pytest.fixture
def provider() -> Iterator[socket.socket]:
    """A provider on this machine, at which nobody must knock."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


def test_each_entry_is_asked_and_each_that_cannot_work_is_found(tmp_path: Path, provider: socket.socket):
    file = tmp_path / "c.yaml"
    base = f"http://127.0.0.1:{provider.getsockname()[1]}/v1"
    file.write_text(
        f"""\
model_list:
  - {{model_name: local, litellm_params: {{model: openai/x, api_key: {TYPED}, api_base: "{base}"}}}}
  - {{model_name: no-provider, litellm_params: {{model: nobody-knows-this}}}}
  - {{model_name: unset, litellm_params: {{model: anthropic/claude-3-5-sonnet-20241022}}}}
  - {{model_name: shared, litellm_params: {{model: openai/gpt-4o, api_key: {TYPED}}}}}
  - {{model_name: shared, litellm_params: {{model: azure/gpt-4o, api_key: {TYPED}, api_version: "2024-10-21"}}}}
  - {{model_name: wrong-type, litellm_params: {{model: openai/gpt-4o, api_key: {TYPED}, input_cost_per_token: much}}}}
  - {{model_name: gemini, litellm_params: {{model: gemini/gemini-2.0-flash, api_key: {TYPED}}}}}
  - {{model_name: claude, litellm_params: {{model: anthropic/claude-3-5-sonnet-20241022, api_key: {TYPED}}}}}
  - {{model_name: nova, litellm_params: {{model: bedrock/amazon.nova-lite-v1:0, aws_region_name: us-east-1, aws_access_key_id: {TYPED}, aws_secret_access_key: {TYPED}}}}}
  - {{model_name: role, litellm_params: {{model: bedrock/amazon.nova-lite-v1:0, aws_region_name: us-east-1}}}}
  - {{model_name: "openai/*", litellm_params: {{model: "openai/*", api_key: {TYPED}}}}}
  - {{model_name: embed, litellm_params: {{model: openai/text-embedding-3-small, api_key: {TYPED}}}}}
  - {{model_name: whisper, litellm_params: {{model: openai/whisper-1, api_key: {TYPED}}}, model_info: {{mode: audio_transcription}}}}
  - {{model_name: rerank, litellm_params: {{model: cohere/rerank-v3.5, api_key: {TYPED}}}}}
  - {{model_name: responses, litellm_params: {{model: openai/gpt-4.1, api_key: {TYPED}}}, model_info: {{mode: responses}}}}
  - {{model_name: live, litellm_params: {{model: openai/gpt-4o-realtime-preview, api_key: {TYPED}}}, model_info: {{mode: realtime}}}}
litellm_settings:
  callbacks: [hooks.handler]
  cache: true
  cache_params: {{type: redis, host: 127.0.0.1, port: {provider.getsockname()[1]}}}
"""
    )
    (tmp_path / "hooks.py").write_text(
        "from pathlib import Path\n"
        "from litellm.integrations.custom_logger import CustomLogger\n"
        "class Logger(CustomLogger):\n"
        "    async def async_pre_call_hook(self, *a, **k): Path('seen').touch()\n"
        "    async def async_log_success_event(self, *a, **k): Path('seen').touch()\n"
        "    async def async_log_failure_event(self, *a, **k): Path('seen').touch()\n"
        "handler = Logger()\n"
        "Path('loaded').touch()\n"
    )
    status, shown = deep(file, "--json", API_KEY=KEY)
    document = json.loads(shown)
    models = document["deep"]["models"]
    requests = {one["model_name"]: one["request"] for one in models if one["verdict"] == "sent"}
    assert requests == {
        "local": f"POST {base}/chat/completions",
        "shared": "POST https://api.openai.com/v1/chat/completions",
        "gemini": "POST https://generativelanguage.googleapis.com/v1beta/models/gemini-2.0-flash:generateContent",
        "claude": "POST https://api.anthropic.com/v1/messages",
        "nova": "POST https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-lite-v1%3A0/converse",
        "openai/*": "POST https://api.openai.com/v1/chat/completions",
        "embed": "POST https://api.openai.com/v1/embeddings",
        "whisper": "POST https://api.openai.com/v1/audio/transcriptions",
        "rerank": "POST https://api.cohere.com/v2/rerank",
        "responses": "POST https://api.openai.com/v1/responses",
    }
    deep_ones = {found for found in findings(document, "error") if found[0].startswith("deep-")}
    assert deep_ones == {
        ("deep-model-left-out", "model_list[1]"),
        ("deep-model-failed", "model_list[2]"),
        ("deep-model-failed", "model_list[4]"),
        ("deep-model-left-out", "model_list[5]"),
    }
    assert ("deep-not-checked", "model_list[9]") in findings(document, "warning")
    assert [one["model_name"] for one in models if one["verdict"] == "not asked"] == ["live"]
    assert any(one["line"] == 3 for one in document["findings"] if one["code"] == "deep-model-left-out")
    assert status == 3
    assert (tmp_path / "loaded").exists()
    assert not (tmp_path / "seen").exists(), "a callback heard of the questions"
    with pytest.raises(BlockingIOError):
        provider.accept()


@pytest.mark.parametrize(
    ("section", "path", "reason"),
    [
        ("litellm_settings: {callbacks: [broken.handler]}", "litellm_settings.callbacks[0]", "no such luck ***"),
        (
            "general_settings: {custom_auth: fine.handler}",
            "general_settings.custom_auth",
            "module 'fine' has no attribute 'handler'",
        ),
    ],
)
def test_what_litellm_refuses_to_start_with_is_found_at_its_place(tmp_path: Path, section: str, path: str, reason: str):
    file = tmp_path / "c.yaml"
    file.write_text(
        f"model_list:\n- {{model_name: a, litellm_params: {{model: openai/a, api_key: {TYPED}}}}}\n{section}\n"
    )
    (tmp_path / "broken.py").write_text(f"raise RuntimeError('no such luck {TYPED}')\n")
    (tmp_path / "fine.py").write_text("")
    status, shown = deep(file, "--json")
    document = json.loads(shown)
    (found,) = [one for one in document["findings"] if one["code"] == "deep-not-loaded"]
    assert (status, found["path"], found["line"]) == (3, path, 3)
    assert reason in found["message"]


def test_a_number_that_litellm_would_keep_as_a_text_is_found(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text(f"model_list:\n- {{model_name: a, litellm_params: {{model: openai/a, api_key: {TYPED}}}}}\n")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "RETRIES": "3"}
    made = build_generation(file, environ, tmp_path / "state")
    # Rendering would make it a number; this is what LiteLLM does with the reference itself.
    made = dataclasses.replace(
        made, config_text=made.config_text + "router_settings: {num_retries: os.environ/RETRIES}\n"
    )
    planned = plan(made.config_text, made.environment)
    root = include.load(file).root
    assert root is not None
    outcome = judge(planned, run(made, planned, timeout=240, progress=lambda events, seconds: None), root, str)
    assert [one.code for one in outcome.findings] == ["deep-retry-failed"]
