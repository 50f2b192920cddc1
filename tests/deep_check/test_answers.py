from __future__ import annotations

import json

import pytest

from supervisor.deep_check.answers import TOKEN, answer, credential, is_metadata_service, shown_url

AZURE = "https://a.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-06-01"


@pytest.mark.parametrize(
    ("url", "dialect"),
    [
        (AZURE, "openai"),
        ("https://api.openai.com/v1/embeddings", "openai"),
        ("https://api.openai.com/v1/responses", "openai"),
        ("https://api.openai.com/v1/audio/transcriptions", "openai"),
        ("https://api.anthropic.com/v1/messages", "anthropic"),
        ("https://generativelanguage.googleapis.com/v1beta/models/gemini-2.0-flash:generateContent", "gemini"),
        ("https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude%3A0/converse", "bedrock"),
        ("http://localhost:11434/api/chat", "ollama"),
        ("https://login.microsoftonline.com/t/oauth2/v2.0/token", TOKEN),
        ("https://login.microsoftonline.com/t/v2.0/.well-known/openid-configuration", TOKEN),
        ("https://oauth2.googleapis.com/token", TOKEN),
        ("https://sts.us-east-1.amazonaws.com/", TOKEN),
        ("https://api.example.com/v1/predictions", None),
    ],
)
def test_an_api_is_recognised_by_where_the_request_goes(url: str, dialect: str | None):
    assert answer(url, b"{}").dialect == dialect


def test_who_asks_for_a_stream_gets_one_that_ends():
    streamed = answer(AZURE, json.dumps({"stream": True}).encode())
    assert streamed.content_type == "text/event-stream"
    assert streamed.body.endswith(b"data: [DONE]\n\n")


def test_a_body_that_is_no_json_is_answered_too():
    assert answer(AZURE, b"\xff\x00").status == 200


def test_a_shown_url_has_the_version_and_nothing_that_may_be_a_credential():
    assert shown_url(AZURE) == AZURE
    url = "https://user:pass@h.example:8443/v1/x?key=secret&api-version=1&sig=secret"
    assert shown_url(url) == "https://h.example:8443/v1/x?api-version=1"
    assert shown_url("https://[::1]:80/x") == "https://[::1]:80/x"
    assert "secret" not in shown_url("user:secret@host/x?key=secret")


@pytest.mark.parametrize(
    ("headers", "url", "expected"),
    [
        ({"Authorization": "Bearer abc"}, AZURE, "sent"),
        ({"api-key": "abc"}, AZURE, "sent"),
        ({"x-goog-api-key": "abc"}, AZURE, "sent"),
        ({"content-type": "application/json"}, AZURE, "none"),
        ({"Authorization": "Bearer None"}, AZURE, "none"),
        ({"Authorization": "Bearer "}, AZURE, "none"),
        ({}, "https://h.example/x?key=abc", "sent"),
        ({"api-key": "os.environ/AZURE_KEY"}, AZURE, "reference"),
        ({"Authorization": "Bearer ${KEY}"}, AZURE, "reference"),
    ],
)
def test_a_credential_is_told_from_none_and_from_a_reference(headers: dict[str, str], url: str, expected: str):
    assert credential(url, headers) == expected


def test_a_machines_own_credentials_are_nothing_that_a_stub_can_know():
    assert is_metadata_service("http://169.254.169.254/latest/api/token")
    assert is_metadata_service("http://metadata.google.internal/x")
    assert not is_metadata_service("https://api.openai.com/v1")
