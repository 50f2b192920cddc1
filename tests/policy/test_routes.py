"""What a path means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.policy.routes import ROUTE_NAMES, Kind, classify


@pytest.mark.parametrize(
    ("method", "path", "name", "kind"),
    [
        ("POST", "/chat/completions", "chat/completions", Kind.INFERENCE),
        ("POST", "/openai/deployments/gpt-4/chat/completions", "chat/completions", Kind.INFERENCE),
        ("GET", "/v1/models/gpt-4", "models", Kind.INFERENCE),
        ("GET", "/health", "health", Kind.POOL_HEALTH),
        ("HEAD", "/health/readiness", "health", Kind.HEALTH),
        ("POST", "/health/readiness", "other", Kind.OTHER),
        ("GET", "/health/readiness/", "other", Kind.OTHER),
        ("GET", "/health/services", "other", Kind.OTHER),
        ("DELETE", "/v1/models/gpt-4", "other", Kind.OTHER),
    ],
)
def test_a_path_has_one_name_and_one_kind(method, path, name, kind):
    route = classify(method, path)
    assert (route.name, route.kind) == (name, kind)


@given(st.sampled_from(["GET", "POST", "HEAD"]), st.text(), st.booleans())
def test_names_come_from_a_fixed_set(method, path, websocket):
    assert classify(method, path, websocket=websocket).name in ROUTE_NAMES
