"""`litesup test` against a balancer that is scripted, with a daemon that says where it listens."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import Result

from tests.scripted_daemon import ScriptedDaemon

Run = Callable[..., Result]

RENDERED = """\
model_list:
- model_name: gpt-4
  litellm_params:
    model: azure/gpt-4o-2024-08-06
    api_base: https://acme.openai.azure.com/
    api_version: 2024-08-01-preview
    api_key: os.environ/AZURE_OPENAI_API_KEY
- model_name: embed
  litellm_params: {model: azure/embed}
  model_info: {mode: embedding}
"""


class Balancer:
    """Answers chat completions with what the test says."""

    def __init__(self) -> None:
        self.health, self.status, self.body = 200, 200, "{}"
        self.models: list[str] = []
        balancer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(balancer.health, "{}")

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                balancer.models.append(asked["model"])
                self._answer(balancer.status, balancer.body)

            def _answer(self, status: int, body: str) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"


@pytest.fixture
def balancer(daemon: ScriptedDaemon) -> Iterator[Balancer]:
    balancer = Balancer()
    thread = threading.Thread(target=balancer.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    answer = daemon.operations.answer
    listening = dataclasses.replace(answer.balancer, listening=(balancer.address,))
    daemon.operations.answer = dataclasses.replace(answer, balancer=listening)
    rendered = daemon.runtime_dir / f"litellm-{answer.generation.wanted}"
    rendered.mkdir()
    (rendered / "config.yaml").write_text(RENDERED)
    yield balancer
    balancer.server.shutdown()
    balancer.server.server_close()
    thread.join()


def test_all_is_well(balancer: Balancer, run_cli: Run) -> None:
    result = run_cli("test")
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first == f"ok      balancer: http://{balancer.address} is up"
    assert second.startswith("ok      model gpt-4: answered in ")
    assert balancer.models == ["gpt-4"]


def test_a_refused_key_ends_with_1_and_says_which(balancer: Balancer, run_cli: Run) -> None:
    balancer.status = 401
    balancer.body = json.dumps({"error": {"message": "invalid subscription key", "code": "401"}})
    result = run_cli("test")
    assert result.exit_code == 1
    assert "AZURE_OPENAI_API_KEY" in result.stdout
    assert "it says: invalid subscription key" in result.stdout


def test_the_same_as_json(balancer: Balancer, run_cli: Run) -> None:
    balancer.status = 404
    document = json.loads(run_cli("test", "--json").stdout)
    assert document["ok"] is False
    assert [check["verdict"] for check in document["checks"]] == ["ok", "failed"]


def test_models_can_be_named(balancer: Balancer, run_cli: Run) -> None:
    run_cli("test", "--model", "a", "--model", "b")
    assert balancer.models == ["a", "b"]


def test_a_pool_that_cannot_serve_is_not_asked_for_models(balancer: Balancer, run_cli: Run) -> None:
    balancer.health = 503
    assert run_cli("test").exit_code == 1
    assert balancer.models == []


def test_without_a_daemon_the_first_step_is_to_start_one(run_cli: Run, short_dir: Path) -> None:
    result = run_cli("test", "--runtime-dir", short_dir, "--url", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "litesup start" in result.stdout


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://x:many", "http://[::1"])
def test_an_address_that_is_none_is_a_wrong_use(run_cli: Run, url: str) -> None:
    with contextlib.suppress(SystemExit):
        assert run_cli("test", "--url", url).exit_code == 2
