"""What the balancer answers by itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from supervisor.balancer import refusals, replies
from supervisor.balancer.replies import Reply
from supervisor.policy.access import Refusal
from supervisor.status import (
    BalancerStatus,
    Condition,
    DaemonStatus,
    GenerationStatus,
    ReplicaStatus,
    Status,
)


def body(response: Reply) -> Any:
    return json.loads(response.body)


def status(condition: Condition, *states: str) -> Status:
    return Status(
        daemon=DaemonStatus(1, "0", "0", condition, 0.0, 0.0, "/run/secret-place", "c.yaml", "fork", ""),
        generation=GenerationStatus("g", None, (), False, "start", 0.0, None, ()),
        wanted_replicas=3,
        ready_replicas=states.count("ready"),
        replicas=tuple(
            ReplicaStatus(slot, slot, None, state, "g", None, 0, None, None, 0, None, "")
            for slot, state in enumerate(states)
        ),
        balancer=BalancerStatus((), "round_robin", 0, 0, 0, 0),
    )


@pytest.mark.parametrize(
    "response",
    [
        replies.refused(Refusal(403, "code", "message"), "id"),
        replies.unavailable("message", "id", retry_after=0.4),
        replies.failed("message", "id", repeatable=True),
        replies.timed_out("message", "id"),
        replies.broken("id"),
        *(
            replies.refused(refusal, "id")
            for refusal in (refusals.BAD_TARGET, refusals.BAD_METHOD, refusals.CROWDED, refusals.BAD_BODY)
        ),
    ],
)
def test_errors_have_openais_shape(response):
    error = body(response)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].startswith("litesup: ")
    assert response.headers["X-Request-Id"] == "id"
    assert response.headers["Content-Type"] == "application/json"


def test_retry_after_is_whole_seconds_and_milliseconds_for_those_who_read_them():
    response = replies.unavailable("message", "id", retry_after=0.4)
    assert (response.headers["Retry-After"], response.headers["Retry-After-Ms"]) == ("1", "400")
    assert response.headers["X-Should-Retry"] == "true"


@pytest.mark.parametrize("path", ["/health", "/health/readiness", "/health/liveliness"])
def test_health_is_503_until_one_is_ready_and_again_while_stopping(path):
    assert replies.health(path, status(Condition.STARTING, "starting"), "id").status == 503
    assert replies.health(path, status(Condition.DEGRADED, "ready", "starting"), "id").status == 200
    assert replies.health(path, status(Condition.STOPPING, "ready", "ready"), "id").status == 503


def test_health_counts_replicas_and_tells_nothing_else_about_the_machine():
    response = replies.health("/health", status(Condition.DEGRADED, "ready", "suspect", "starting"), "id")
    document = body(response)
    assert (document["healthy_count"], document["unhealthy_count"]) == (1, 2)
    assert document["unhealthy_endpoints"][0] == {"replica": 1, "state": "suspect"}
    assert "secret-place" not in json.dumps(document)


@pytest.mark.parametrize(
    ("route", "start"),
    [("chat/completions", "data: "), ("messages", "event: error\n"), ("responses", "event: error\n")],
)
def test_the_last_event_of_a_cut_stream_is_one_whole_event_in_the_dialect_of_the_api(route, start):
    event = replies.error_event(route, "the replica closed the connection").decode()
    assert event.startswith(start)
    assert event.endswith("\n\n")
    assert event.count("\n\n") == 1
    document = json.loads(event.partition("data: ")[2])
    assert "error" in document or document["type"] == "error"


def test_a_cut_stream_of_an_api_that_is_not_known_gets_no_event_of_another_one():
    assert replies.error_event("other", "the replica closed the connection") == b""


def test_a_reply_says_how_long_it_is_when_it_was_written_and_whether_it_is_the_last():
    reply = Reply(404, {"X-A": "b"}, b"hello")
    head, _, sent = reply.written(keep_alive=False).partition(b"\r\n\r\n")
    start, *fields = head.decode().split("\r\n")
    assert (start, sent) == ("HTTP/1.1 404 Not Found", b"hello")
    named = dict(field.split(": ", 1) for field in fields)
    assert datetime.now(UTC) - parsedate_to_datetime(named.pop("Date")) < timedelta(minutes=1)
    assert named == {"X-A": "b", "Connection": "close", "Content-Length": "5", "Server": "litesup"}


def test_a_reply_to_head_has_no_body_and_one_of_1_0_says_that_it_is_not_the_last():
    reply = Reply(200, {}, b"hello")
    assert reply.written(keep_alive=True, head_only=True).endswith(b"litesup\r\n\r\n")
    assert b"\r\nContent-Length: 5\r\n" in reply.written(keep_alive=True, head_only=True)
    assert b"Connection" not in reply.written(keep_alive=True)
    assert b"\r\nConnection: keep-alive\r\n" in reply.written(keep_alive=True, http_1_0=True)
