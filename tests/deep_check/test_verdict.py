from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from supervisor.deep_check.plan import Model, Plan
from supervisor.deep_check.run import Run
from supervisor.deep_check.verdict import Outcome, Verdict, judge
from supervisor.errors import LitesupError, Severity
from supervisor.litellm_config.document import MapNode, parse
from supervisor.observe.redact import Redactor

TEXT = """\
model_list:
  - model_name: gpt
    litellm_params: {model: openai/gpt-4o}
litellm_settings:
  default_team_settings: 5
  callbacks: [hooks.handler]
router_settings:
  routing_strategy: fastest-first
"""
SENT = {"method": "POST", "url": "https://api.example.com/v1/x", "credential": "sent", "dialect": "openai"}
LOADED: list[dict[str, Any]] = [
    {"event": "loading", "sealed": True},
    {"event": "imported", "version": "1.2.3"},
    {"event": "loaded", "refused": [], "errors": []},
]


def root() -> MapNode:
    node, _ = parse(TEXT, Path("/etc/c.yaml"))
    assert isinstance(node, MapNode)
    return node


def judged(
    *events: dict[str, Any], status: int | None = 0, timed_out: bool = False, last: tuple[str, ...] = ()
) -> Outcome:
    planned = Plan("", {}, (Model(0, "gpt", "litesup-check-0", "gpt", None),), (), ())
    ended = Run(tuple(events), 4.0, timed_out, status, last)
    return judge(planned, ended, root(), Redactor({"API_KEY": "hunter2hunter2"}))


def asked(**facts: Any) -> Outcome:
    told = {"event": "asked", "index": 0, "mode": "chat", "status": 200, "answer": "", "sent": [], "refused": []}
    return judged(*LOADED, {**told, **facts})


def failure(message: str) -> str:
    return f'{{"error": {{"message": "{message}", "code": "500"}}}}'


def test_a_request_that_reached_the_stub_is_what_the_model_would_do():
    outcome = asked(sent=[SENT])
    (model,) = outcome.models
    assert (model.verdict, model.request) == (Verdict.SENT, "POST https://api.example.com/v1/x")
    assert (outcome.findings, outcome.version, outcome.sealed) == ((), "1.2.3", True)


def test_an_answer_that_the_stub_cannot_make_is_no_fault_of_the_configuration():
    outcome = asked(status=500, answer=failure("KeyError: x"), sent=[{**SENT, "dialect": None}])
    assert outcome.models[0].verdict is Verdict.SENT
    assert outcome.findings == ()


def test_the_request_for_the_model_is_told_from_those_for_a_token_and_a_description():
    token = {**SENT, "url": "https://login.example.com/token", "dialect": "token"}
    page = {**SENT, "method": "GET", "url": "https://hub.example.com/config.json", "dialect": None}
    assert asked(sent=[token, page, SENT, page]).models[0].request == "POST https://api.example.com/v1/x"


def test_what_fails_before_the_wire_is_an_error_at_the_models_place():
    outcome = asked(status=401, answer=failure("litellm.AuthenticationError: key hunter2hunter2 is bad"))
    (finding,) = outcome.findings
    assert (finding.code, finding.severity, finding.path) == ("deep-model-failed", Severity.ERROR, "model_list[0]")
    assert finding.line == 2
    assert finding.message == "gpt fails in LiteLLM: key *** is bad"


def test_what_wanted_a_connection_is_not_called_a_failure():
    outcome = asked(status=401, answer=failure("no credentials"), refused=["http://169.254.169.254/x"])
    assert [(one.code, one.severity) for one in outcome.findings] == [("deep-not-checked", Severity.WARNING)]
    assert "169.254.169.254" in outcome.findings[0].message


def test_an_answer_without_a_request_is_litellms_own():
    assert asked().models[0].verdict is Verdict.ITSELF


def test_a_model_that_litellm_leaves_out_is_an_error_with_its_reason():
    outcome = judged(*LOADED, {"event": "asked", "index": 0, "left_out": "ValueError: no provider"})
    assert [(one.code, one.message) for one in outcome.findings] == [
        ("deep-model-left-out", "LiteLLM leaves gpt out: no provider")
    ]


def test_a_missing_credential_matters_only_to_a_public_provider():
    assert [one.code for one in asked(sent=[{**SENT, "credential": "none"}]).findings] == ["deep-no-credential"]
    for url in ("http://localhost:11434/x", "http://10.0.0.1/x", "http://vllm/x", "http://m.internal/x"):
        assert asked(sent=[{**SENT, "credential": "none", "url": url}]).findings == ()


def test_a_reference_in_a_credential_is_an_error():
    assert [one.code for one in asked(sent=[{**SENT, "credential": "reference"}]).findings] == ["deep-reference-sent"]


def test_a_retry_that_breaks_is_told_from_one_that_gives_up():
    broken = asked(sent=[SENT], retried=failure("'>' not supported between instances of 'str' and 'int'"))
    assert [one.code for one in broken.findings] == ["deep-retry-failed"]
    assert asked(sent=[SENT], retried=failure("OpenAIException - litesup-stub-failure")).findings == ()


def test_an_address_that_cannot_be_sent_to_is_named():
    outcome = asked(
        status=500, answer=failure("Connection error."), problems=["the address x does not begin with http://"]
    )
    assert "the address x" in outcome.findings[0].message


def test_a_kind_that_is_not_asked_is_no_finding():
    outcome = judged(*LOADED, {"event": "asked", "index": 0, "mode": "realtime", "skipped": True})
    assert (outcome.models[0].verdict, outcome.findings) == (Verdict.NOT_ASKED, ())


def test_a_refusal_to_start_is_shown_where_litellm_was():
    def refused(reason: str, **facts: Any) -> tuple[str, str, int | None]:
        (finding,) = judged(*LOADED[:2], {"event": "refused", "reason": reason, **facts}, status=1).findings
        return finding.code, finding.path, finding.line

    assert refused("RuntimeError: boom", value="hooks.handler") == (
        "deep-not-loaded",
        "litellm_settings.callbacks[0]",
        6,
    )
    assert refused("TypeError: 'int'", setting="default_team_settings")[1] == "litellm_settings.default_team_settings"
    assert refused("ValueError: Invalid routing_strategy: 'fastest-first'")[1:] == (
        "router_settings.routing_strategy",
        8,
    )
    assert refused("ValueError: who knows") == ("deep-not-loaded", "", None)


def test_a_start_that_wanted_a_connection_is_not_called_refused():
    outcome = judged(*LOADED[:2], {"event": "refused", "reason": "x", "refused": ["licence.example:443"]}, status=1)
    assert [(one.code, one.severity) for one in outcome.findings] == [("deep-not-checked", Severity.WARNING)]


def test_what_litellm_says_last_is_the_reason_where_it_gives_none():
    outcome = judged(*LOADED[:2], status=3, last=("starting", "Error: the master key sk-0123456789abcdef is weak"))
    assert "the master key *** is weak" in outcome.findings[0].message


def test_where_litellm_cannot_be_run_nothing_is_said_of_the_configuration():
    with pytest.raises(LitesupError, match="No module named 'litellm'"):
        judged({"event": "loading"}, {"event": "absent", "reason": "ModuleNotFoundError: No module named 'litellm'"})
    with pytest.raises(LitesupError, match="--timeout"):
        judged(LOADED[0], timed_out=True, status=None)
    with pytest.raises(LitesupError, match="memory"):
        judged(*LOADED[:2], status=-9)


def test_what_there_was_no_time_for_is_a_warning_each():
    outcome = judged(*LOADED, {"event": "asking", "index": 0}, timed_out=True, status=None)
    assert [(one.code, "--timeout" in one.hint) for one in outcome.findings] == [("deep-not-checked", True)]


def test_errors_and_contacts_while_loading_are_told():
    loaded = {
        "event": "loaded",
        "refused": ["mcp.example:443"],
        "errors": ["no package for hooks.handler hunter2hunter2"],
    }
    outcome = judged(*LOADED[:2], loaded, {"event": "asked", "index": 0, "status": 200})
    assert [one.code for one in outcome.findings] == ["deep-load-error", "deep-nothing-sent"]
    assert outcome.findings[0].path == "litellm_settings.callbacks[0]"
    assert "hunter2" not in str(outcome.findings)
