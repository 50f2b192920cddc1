from __future__ import annotations

import dataclasses

import pytest
from prometheus_client.parser import text_string_to_metric_families

from supervisor import events
from supervisor.observe.metrics import RETRY_REASONS, Metrics
from supervisor.observe.tally import MOST_ROUTES, status_label
from supervisor.policy.retry import Failure
from supervisor.status import Condition
from tests.scripted_operations import pool_status, replica_status


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(pool_status, dropped_lines=lambda: 12, tasks=lambda: 34)


def values(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return values(metrics)[name, tuple(sorted(labels.items()))]


def request(**changes: object) -> events.RequestFinished:
    plain = events.RequestFinished("POST", "chat_completions", 200, "answered", 1, 1, 0.2, "id")
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def test_the_metrics_have_the_names_that_dashboards_are_built_on(metrics: Metrics) -> None:
    metrics.count(request())
    metrics.count(events.ReplicaExited(1, 1, "gen", 5, "SIGKILL", expected=False))
    ours = {name for name, _labels in values(metrics) if name.startswith("litesup_")}
    assert ours >= {
        "litesup_requests_total",
        "litesup_request_duration_seconds_bucket",
        "litesup_requests_in_flight",
        "litesup_requests_waiting",
        "litesup_client_connections",
        "litesup_client_connections_turned_away_total",
        "litesup_upstream_connections_idle",
        "litesup_tasks",
        "litesup_request_retries_total",
        "litesup_replicas",
        "litesup_replica_restarts_total",
        "litesup_replicas_wanted",
        "litesup_generation_info",
        "litesup_reloads_total",
        "litesup_operator_rollbacks_total",
        "litesup_history_failures_total",
        "litesup_serving_from_history",
        "litesup_log_lines_dropped_total",
    }
    assert "process_resident_memory_bytes" in {name for name, _labels in values(metrics)}


def test_requests_are_counted_by_route_method_status_and_outcome(metrics: Metrics) -> None:
    for _ in range(3):
        metrics.count(request())
    metrics.count(request(status=0, outcome="client_gone"))
    labels = {"route": "chat_completions", "method": "POST"}
    assert value(metrics, "litesup_requests_total", status="200", outcome="answered", **labels) == 3
    assert value(metrics, "litesup_requests_total", status="0", outcome="client_gone", **labels) == 1
    assert value(metrics, "litesup_request_duration_seconds_count", route="chat_completions") == 4


def test_retries_are_counted_by_their_reason_and_suspects_by_themselves(metrics: Metrics) -> None:
    for failure in (Failure.LOST, Failure.LOST, Failure.NOT_SENT):
        metrics.count(events.RequestRetried(1, 1, "chat/completions", failure.value, "id"))
    metrics.count(events.RequestSuspected((1, 2), "POST", "/v1/chat/completions", "gpt-4", "id"))
    counted = {reason: value(metrics, "litesup_request_retries_total", reason=reason) for reason in RETRY_REASONS}
    assert counted == {"not sent": 1, "lost": 2, "given up": 0}
    assert set(RETRY_REASONS) == {failure.value for failure in Failure if failure is not Failure.CUT}
    assert value(metrics, "litesup_requests_suspected_total") == 1


def test_label_sets_stay_bounded_whatever_clients_send(metrics: Metrics) -> None:
    for number in range(1000):
        metrics.count(request(route=f"route-{number}", method=f"M{number}", status=600 + number))
        metrics.count(events.ReplicaExited(1, number, "gen", 5, "exit 1", expected=False))
    samples = [labels for name, labels in values(metrics) if name == "litesup_requests_total"]
    assert len({dict(labels)["route"] for labels in samples}) == MOST_ROUTES + 1
    assert {dict(labels)["method"] for labels in samples} == {"other"}
    assert len({dict(labels)["status"] for labels in samples}) <= 20
    assert len([1 for name, _ in values(metrics) if name == "litesup_replica_restarts_total"]) <= 257


@pytest.mark.parametrize(("status", "label"), [(200, "200"), (0, "0"), (429, "429"), (599, "5xx"), (250, "2xx")])
def test_a_status_that_nobody_knows_is_counted_in_its_class(status: int, label: str) -> None:
    assert status_label(status) == label


def test_restarts_are_what_ended_unasked_with_the_reason(metrics: Metrics) -> None:
    metrics.count(events.ReplicaExited(1, 2, "gen", 5, "SIGKILL", expected=False))
    metrics.count(events.ReplicaExited(3, 2, "gen", 6, "exit 0", expected=True))
    metrics.count(events.ReplicaKilled(4, 2, "gen", events.KillCause.HUNG, "hung: no answer for 15 s"))
    metrics.count(events.ReplicaExited(4, 2, "gen", 7, "SIGKILL", expected=False))
    metrics.count(events.ReplicaLaunchFailed(5, 2, "gen", reason="no memory"))
    assert value(metrics, "litesup_replica_restarts_total", slot="2", reason="SIGKILL") == 1
    assert value(metrics, "litesup_replica_restarts_total", slot="2", reason="killed") == 1
    assert value(metrics, "litesup_replica_restarts_total", slot="2", reason="launch failed") == 1
    assert len([1 for name, _ in values(metrics) if name == "litesup_replica_restarts_total"]) == 3
    assert value(metrics, "litesup_replica_kills_total", slot="2", reason="hung") == 1


def test_every_time_that_a_replica_becomes_suspect_is_counted(metrics: Metrics) -> None:
    metrics.count(events.ReplicaSuspect(1, 2, "gen", reason="no answer within 2 s"))
    metrics.count(events.ReplicaSuspect(1, 2, "gen", reason="no answer within 2 s"))
    assert value(metrics, "litesup_replica_suspects_total", slot="2") == 2


def test_reloads_are_counted_by_how_they_ended(metrics: Metrics) -> None:
    metrics.count(events.RolloutCompleted("gen", 2.0))
    metrics.count(events.ConfigurationChangeRefused(("no",)))
    metrics.count(events.ConfigurationChangeRefused(("no",)))
    assert [value(metrics, "litesup_reloads_total", result=r) for r in ("completed", "failed", "refused")] == [1, 0, 2]


def test_going_back_and_what_could_not_be_kept_are_counted(metrics: Metrics) -> None:
    metrics.count(events.RolledBackByOperator("aaaa", "bbbb"))
    metrics.count(events.GenerationNotKept("aaaa", "No space left on device"))
    assert value(metrics, "litesup_operator_rollbacks_total") == 1
    assert value(metrics, "litesup_history_failures_total") == 1
    assert value(metrics, "litesup_serving_from_history") == 0
    plain = pool_status()
    generation = dataclasses.replace(plain.generation, note="serving the last good configuration")
    instead = Metrics(lambda: dataclasses.replace(plain, generation=generation), dropped_lines=lambda: 0)
    assert value(instead, "litesup_serving_from_history") == 1


def test_what_is_so_is_read_when_it_is_asked_for() -> None:
    status = pool_status(Condition.DEGRADED, (replica_status(1), replica_status(2, state="suspect")))
    metrics = Metrics(lambda: status, dropped_lines=lambda: 12)
    assert value(metrics, "litesup_replicas", state="ready") == 1
    assert value(metrics, "litesup_replicas", state="suspect") == 1
    assert value(metrics, "litesup_replicas", state="draining") == 0
    assert value(metrics, "litesup_replicas_wanted") == 3
    assert value(metrics, "litesup_requests_in_flight") == 6
    assert value(metrics, "litesup_log_lines_dropped_total") == 12
    assert value(metrics, "litesup_generation_info", generation="3f2a91bc01d2") == 1


def test_two_daemons_in_one_process_do_not_share_their_counts(metrics: Metrics) -> None:
    metrics.count(request())
    other = Metrics(pool_status, dropped_lines=lambda: 0)
    assert not [1 for name, _labels in values(other) if name == "litesup_requests_total"]


def test_what_must_not_grow_while_nothing_happens_is_a_gauge() -> None:
    at_rest = dataclasses.replace(pool_status().balancer, clients=7, idle_upstream=5, held_bytes=3, turned_away=2)
    busy = Metrics(
        lambda: dataclasses.replace(pool_status(), balancer=at_rest), dropped_lines=lambda: 0, tasks=lambda: 34
    )
    assert value(busy, "litesup_client_connections") == 7
    assert value(busy, "litesup_upstream_connections_idle") == 5
    assert value(busy, "litesup_held_bytes") == 3
    assert value(busy, "litesup_tasks") == 34
    assert value(busy, "litesup_client_connections_turned_away_total") == 2


def test_a_duration_is_in_every_bucket_that_is_no_shorter(metrics: Metrics) -> None:
    for seconds in (0.0, 0.005, 0.006, 0.3, 601.0):
        metrics.count(request(seconds=seconds, waited=seconds))
    for name, labels in (
        ("litesup_request_duration_seconds", {"route": "chat_completions"}),
        ("litesup_queue_wait_seconds", {}),
    ):
        at_most = {le: value(metrics, f"{name}_bucket", le=le, **labels) for le in ("0.005", "0.01", "0.5", "600.0")}
        shorter = int(name == "litesup_queue_wait_seconds")  # who did not wait is not in it
        assert [count + shorter for count in at_most.values()] == [2, 3, 4, 4]
        assert value(metrics, f"{name}_bucket", le="+Inf", **labels) + shorter == 5
        assert value(metrics, f"{name}_count", **labels) + shorter == 5
        assert value(metrics, f"{name}_sum", **labels) == pytest.approx(601.311)


def test_what_clients_make_up_is_counted_and_not_remembered(metrics: Metrics) -> None:
    for number in range(500):
        metrics.count(request(method=f"M{number}", status=600 + number, route=f"r{number}"))
    assert len(metrics._requests._known) == 0
    assert len(metrics._requests._tallies) <= (MOST_ROUTES + 1) * 6
