from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from supervisor.cli import deep
from supervisor.deep_check.verdict import ModelVerdict, Outcome, Verdict
from supervisor.errors import Finding, LitesupError, Severity

Run = Callable[..., Result]
CONFIG = "model_list:\n- {model_name: gpt, litellm_params: {model: openai/gpt-4o, api_key: '${API_KEY}'}}\n"


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("API_KEY", "hunter2hunter2")
    file = Path("litellm.config.yaml").absolute()
    file.write_text(CONFIG)
    return file


def answering(monkeypatch: pytest.MonkeyPatch, *models: ModelVerdict, findings: tuple[Finding, ...] = ()) -> None:
    outcome = Outcome(models, findings, "1.2.3", 4.25, sealed=True)
    monkeypatch.setattr("supervisor.cli.config.deep_check", lambda generation, timeout: outcome)


SENT = ModelVerdict(0, "gpt", Verdict.SENT, "chat", request="POST https://api.openai.com/v1/chat/completions")


def test_each_model_gets_a_line_and_then_come_the_findings(
    run_cli: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, SENT)
    result = run_cli("check", "--deep")
    assert result.exit_code == 0
    first, second, *_ = result.stdout.splitlines()
    assert first == "gpt: would POST https://api.openai.com/v1/chat/completions"
    assert second == "LiteLLM 1.2.3 was asked about 1 model in 4.2 s; nothing left this machine"


def test_a_deep_error_refuses_with_the_operators_own_line(
    run_cli: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Finding(Severity.ERROR, "deep-model-failed", "gpt fails", "Do it.", file=config, line=2, column=3)
    answering(monkeypatch, ModelVerdict(0, "gpt", Verdict.FAILED, "chat", reason="no key"), findings=(found,))
    result = run_cli("check", "--deep")
    assert result.exit_code == 3
    assert "gpt: failed: no key" in result.stdout
    assert "2 | - {model_name: gpt" in result.stdout


def test_json_has_what_each_model_would_send(run_cli: Run, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, SENT)
    document = json.loads(run_cli("check", "--deep", "--json").stdout)
    assert document["deep"]["models"][0]["request"] == SENT.request
    assert document["deep"]["models"][0]["path"] == "model_list[0]"
    assert (document["deep"]["litellm_version"], document["deep"]["seconds"]) == ("1.2.3", 4.25)
    assert "deep" not in json.loads(run_cli("check", "--json").stdout)


def test_what_is_refused_already_is_not_given_to_litellm(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("litellm.config.yaml").write_text(CONFIG)
    result = run_cli("check", "--deep")
    assert result.exit_code == 3
    assert "not given to LiteLLM" in result.stderr


def test_a_litellm_that_cannot_be_run_ends_with_1(run_cli: Run, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(generation: object, timeout: float) -> None:
        raise LitesupError("LiteLLM cannot be run here: No module named 'litellm'")

    monkeypatch.setattr("supervisor.cli.config.deep_check", absent)
    assert run_cli("check", "--deep").exit_code == 1


def test_progress_says_what_takes_the_time() -> None:
    names = {0: "gpt", 1: "claude"}
    assert deep.progress_text((), 0.4, names) == "importing LiteLLM … 0 s"
    assert deep.progress_text(({"event": "imported"},), 4.0, names) == "loading the configuration … 4 s"
    asking = ({"event": "asked", "index": 0}, {"event": "asking", "index": 1})
    assert deep.progress_text(asking, 5.0, names) == "asked about 1 of 2 models … 5 s  claude"


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (ModelVerdict(0, "a", Verdict.ITSELF), "answers by itself; no provider is asked"),
        (ModelVerdict(0, "a", Verdict.NOT_ASKED), "not asked, because it only chooses among others"),
        (ModelVerdict(0, "a", Verdict.UNKNOWN), "not checked"),
        (ModelVerdict(0, "x/*", Verdict.SENT, asked_for="x/y", request="POST u"), "would POST u (as x/y)"),
    ],
)
def test_every_verdict_has_its_words(model: ModelVerdict, line: str) -> None:
    assert deep.said(model) == line


def test_what_is_secret_by_its_place_is_known_whatever_its_variable_is_called(tmp_path: Path) -> None:
    from supervisor.litellm_config.build import examine

    file = tmp_path / "c.yaml"
    file.write_text("model_list:\n- {model_name: a, litellm_params: {model: openai/a, api_key: '${PLAIN}'}}\n")
    generation, _ = examine(file, {"PLAIN": "quite-a-secret-value"})
    assert generation is not None
    assert deep.redactor(generation)("said quite-a-secret-value") == "said ***"
