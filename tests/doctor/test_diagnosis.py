from __future__ import annotations

import dataclasses

import pytest

from supervisor.doctor.deployments import Deployment, deployments
from supervisor.doctor.diagnosis import Attempt, Failure, Verdict, judge_balancer, judge_model
from supervisor.status import Condition
from tests.scripted_operations import pool_status, replica_status

HERE = "http://127.0.0.1:8000"
AZURE = Deployment(
    model_name="gpt-4",
    provider="azure",
    model="gpt-4o-2024-08-06",
    host="acme.openai.azure.com",
    api_version="2024-08-01-preview",
    key_variable="AZURE_OPENAI_API_KEY",
    mocked=False,
    chats=True,
)


def advice_for(status: int, message: str = "", target: Deployment = AZURE) -> str:
    check = judge_model("gpt-4", Attempt(1.0, status, None, message), [target])
    assert check.verdict is Verdict.FAILED
    assert f"({status})" in check.summary
    return "\n".join(check.advice)


def test_what_works_says_who_answered_and_how_fast() -> None:
    check = judge_model("gpt-4", Attempt(0.84, 200), [AZURE])
    assert check.verdict is Verdict.OK
    assert check.summary == "answered in 0.8 s by azure/gpt-4o-2024-08-06 at acme.openai.azure.com"


def test_an_answer_that_was_made_up_says_so() -> None:
    check = judge_model("demo", Attempt(0.01, 200), [dataclasses.replace(AZURE, mocked=True)])
    assert "made up locally" in check.summary


def test_a_refused_key_names_the_variable_and_the_resource() -> None:
    advice = advice_for(401, "Access denied due to invalid subscription key")
    assert "AZURE_OPENAI_API_KEY" in advice
    assert "acme.openai.azure.com" in advice
    assert "expired" in advice


def test_a_key_that_stands_in_the_file_is_not_called_a_variable() -> None:
    advice = advice_for(401, target=dataclasses.replace(AZURE, key_variable=""))
    assert "in the configuration" in advice


@pytest.mark.parametrize(
    "said",
    [
        "Public access is disabled. Please configure private endpoint.",
        "Access denied due to Virtual Network/Firewall rules.",
    ],
)
def test_a_resource_behind_a_private_endpoint_is_told_from_a_bad_key(said: str) -> None:
    advice = advice_for(403, said)
    assert "VNet" in advice
    assert "getent hosts acme.openai.azure.com" in advice
    assert "AZURE_OPENAI_API_KEY" not in advice


def test_a_plain_403_may_be_either() -> None:
    advice = advice_for(403, "Forbidden")
    assert "AZURE_OPENAI_API_KEY" in advice
    assert "VNet" in advice


def test_a_missing_deployment_names_deployment_resource_and_version() -> None:
    advice = advice_for(404, "The API deployment for this resource does not exist")
    assert "gpt-4o-2024-08-06" in advice
    assert "acme.openai.azure.com" in advice
    assert "2024-08-01-preview" in advice


def test_a_model_that_the_configuration_does_not_have_is_told_from_a_missing_deployment() -> None:
    check = judge_model("gpt-9", Attempt(0.1, 404), [])
    assert "The configuration has no such model" in check.advice[0]


def test_a_limit_is_no_failure_of_the_set_up() -> None:
    assert "quota" in advice_for(429)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (408, ""),
        (504, "litellm.Timeout"),
        (500, "litellm.APIConnectionError: Cannot connect to host acme"),
        (500, "Connection error."),
    ],
)
def test_a_provider_that_cannot_be_reached_is_a_matter_of_dns_and_network(status: int, said: str) -> None:
    advice = advice_for(status, said)
    assert "getent hosts acme.openai.azure.com" in advice
    assert "https://acme.openai.azure.com/" in advice
    assert "peering" in advice


def test_another_failure_of_the_providers_points_to_the_log() -> None:
    assert "litesup logs" in advice_for(500, "internal error")


def test_no_answer_in_time_is_told_with_the_network_advice() -> None:
    check = judge_model("gpt-4", Attempt(60.0, failure=Failure.TIMEOUT), [AZURE])
    assert check.verdict is Verdict.FAILED
    assert "no answer within 60 s" in check.summary
    assert any("acme.openai.azure.com" in step for step in check.advice)


@pytest.mark.parametrize(
    ("status", "word"),
    [(401, "access.trusted"), (403, "access.trusted"), (503, "litesup status"), (502, "litesup logs")],
)
def test_what_litesup_itself_refused_is_not_blamed_on_the_provider(status: int, word: str) -> None:
    check = judge_model("gpt-4", Attempt(0.1, status, None, "litesup: no", own=True), [AZURE])
    assert check.verdict is Verdict.FAILED
    assert check.summary == f"litesup answered {status}"
    assert any(word in step for step in check.advice)


def test_nothing_listening_and_no_daemon_means_start_one() -> None:
    check = judge_balancer(HERE, Attempt(0.0, failure=Failure.REFUSED), None, "/run/litesup")
    assert check.verdict is Verdict.FAILED
    assert "nothing listens there" in check.summary
    assert any("/run/litesup" in step and "litesup start" in step for step in check.advice)


def test_nothing_listening_while_the_daemon_is_elsewhere_names_where() -> None:
    check = judge_balancer(
        "http://127.0.0.1:4000", Attempt(0.0, failure=Failure.REFUSED), pool_status(), "/run/litesup"
    )
    assert any("http://127.0.0.1:8000" in step for step in check.advice)


def test_a_pool_without_a_ready_replica_is_up_but_cannot_serve() -> None:
    check = judge_balancer(HERE, Attempt(0.0, 503), pool_status(Condition.STARTING, ()), "/run/litesup")
    assert check.verdict is Verdict.FAILED
    assert "cannot serve" in check.summary


def test_fewer_replicas_than_wanted_is_a_warning() -> None:
    status = pool_status(Condition.DEGRADED, (replica_status(1),))
    assert judge_balancer(HERE, Attempt(0.0, 200), status, "").verdict is Verdict.WARNING
    assert judge_balancer(HERE, Attempt(0.0, 200), pool_status(), "").verdict is Verdict.OK
    assert judge_balancer(HERE, Attempt(0.0, 200), None, "").verdict is Verdict.OK


def test_something_else_on_the_port_is_recognised() -> None:
    check = judge_balancer(HERE, Attempt(0.0, 404), None, "")
    assert any("sport = :8000" in step for step in check.advice)


def test_deployments_are_read_off_the_rendered_configuration() -> None:
    document = {
        "model_list": [
            {
                "model_name": "gpt-4",
                "litellm_params": {
                    "model": "azure/gpt-4o-2024-08-06",
                    "api_base": "os.environ/BASE",
                    "api_version": "2024-08-01-preview",
                    "api_key": "os.environ/AZURE_OPENAI_API_KEY",
                },
            },
            {"model_name": "own", "litellm_params": {"model": "llama", "api_key": "typed-in", "api_base": 5}},
            {"model_name": "e", "litellm_params": {"model": "openai/e"}, "model_info": {"mode": "embedding"}},
            {"model_name": "m", "litellm_params": {"model": "openai/m", "mock_response": "hi"}, "model_info": None},
            "nonsense",
            {"model_name": "n"},
        ]
    }
    found = deployments(document, {"BASE": "https://acme.openai.azure.com/", "AZURE_OPENAI_API_KEY": "secret-value"})
    assert found[0] == AZURE
    assert "secret-value" not in repr(found)
    assert (found[1].provider, found[1].model, found[1].host, found[1].key_variable) == ("openai", "llama", "", "")
    assert [one.chats for one in found] == [True, True, False, True]
    assert [one.mocked for one in found] == [False, False, False, True]


@pytest.mark.parametrize("document", [None, [], {}, {"model_list": None}, {"model_list": {}}])
def test_a_document_without_models_has_no_deployments(document: object) -> None:
    assert deployments(document, {}) == ()
