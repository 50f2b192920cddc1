from __future__ import annotations

import json
import time
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from supervisor.observe.redact import MASK, SHORTEST, Redactor, secrets_of


@pytest.mark.parametrize(
    "name",
    [
        "AZURE_OPENAI_API_KEY",
        "OPENAI_KEY_2",
        "CLIENT_SECRET",
        "HF_TOKEN",
        "DB_PASSWORD",
        "SMTP_PASSWD",
        "GOOGLE_CREDENTIALS",
        "aws_secret_access_key",
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        "SLACK_WEBHOOK_URL",
        "SENTRY_DSN",
    ],
)
def test_the_value_of_a_variable_whose_name_says_secret_is_masked(name: str) -> None:
    redact = Redactor({name: "Correct-Horse+Battery/Staple"})
    assert redact("got Correct-Horse+Battery/Staple here") == f"got {MASK} here"


@pytest.mark.parametrize("name", ["PATH", "HOME", "PWD", "OLDPWD", "SSL_CERT_FILE", "SSL_KEY_FILE", "LANG"])
def test_other_variables_are_left_alone(name: str) -> None:
    assert Redactor({name: "/opt/some/where"})("in /opt/some/where") == "in /opt/some/where"


def test_the_password_inside_a_url_is_masked_wherever_it_turns_up() -> None:
    environ = {
        "DATABASE_URL": "postgresql://llm:hunter22hunter@db:5432/x",
        "HTTPS_PROXY": "http://u:pr0xypass@proxy:3128",
    }
    redact = Redactor(environ)
    assert redact("auth failed for hunter22hunter and pr0xypass") == f"auth failed for {MASK} and {MASK}"
    assert redact("dsn postgresql://other:abc@db/x") == f"dsn postgresql://other:{MASK}@db/x"


def test_short_values_are_not_replaced_blindly() -> None:
    redact = Redactor({"USE_TOKEN": "true", "API_KEY": "x" * (SHORTEST - 1), "OTHER_KEY": "y" * SHORTEST})
    assert (
        redact(f"it is true, {'x' * (SHORTEST - 1)}, {'y' * SHORTEST}") == f"it is true, {'x' * (SHORTEST - 1)}, {MASK}"
    )


def test_secrets_can_be_learnt_later_and_a_longer_one_is_masked_whole() -> None:
    redact = Redactor()
    redact.learn(["abcdefgh"])
    redact.learn([SecretStr("abcdefgh-and-more")])
    assert redact("abcdefgh-and-more abcdefgh") == f"{MASK} {MASK}"
    assert "abcdefgh" not in repr(redact)


def test_a_secret_of_several_lines_is_masked_line_by_line() -> None:
    redact = Redactor({"TLS_KEY": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n-----END PRIVATE KEY-----"})
    assert redact("  MIIEvQIBADANBgkqhkiG9w0") == f"  {MASK}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key sk-abcdefgh1234 used", f"key {MASK} used"),
        ("Authorization: Bearer abcdef123456", f"Authorization: Bearer {MASK}"),
        ("{'Authorization': 'Bearer abcdef123456'}", "{'Authorization': 'Bearer " + MASK + "'}"),
        ("api-key: 0123456789abcdef", f"api-key: {MASK}"),
        ("'api_key': '0123456789abcdef', 'model': 'x'", f"'api_key': '{MASK}', 'model': 'x'"),
        ('"API_KEY": "0123456789abcdef"', f'"API_KEY": "{MASK}"'),
        ("Ocp-Apim-Subscription-Key: 0123456789abcdef", f"Ocp-Apim-Subscription-Key: {MASK}"),
        ("GET /x?key=0123456789abcdef&y=1", f"GET /x?key={MASK}&y=1"),
        ("?sv=1&sig=0123456789abcdef%3D", f"?sv=1&sig={MASK}"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl", MASK),
        ("password=correcthorse", f"password={MASK}"),
    ],
)
def test_what_looks_like_a_secret_is_masked_without_being_known(text: str, expected: str) -> None:
    assert Redactor()(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a task-oriented risk-management disk-encryption-key",
        'INFO:     127.0.0.1:46034 - "POST /v1/chat/completions HTTP/1.1" 200 OK',
        "the bearer of this",
        "http://127.0.0.1:8000/health",
        "api_key: os.environ/AZURE_OPENAI_API_KEY",
        "max_tokens: 16, total_tokens=1234567890",
        "KeyError: 'model'",
    ],
)
def test_ordinary_lines_are_left_as_they_are(text: str) -> None:
    assert Redactor()(text) == text


SECRETS = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="\x7f"), min_size=SHORTEST, max_size=60
)


@given(secret=SECRETS, before=st.text(max_size=20), after=st.text(max_size=20))
def test_the_hunt_no_spelling_of_a_known_secret_survives(secret: str, before: str, after: str) -> None:
    redact = Redactor({"PROVIDER_API_KEY": secret})
    for shown in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], urllib.parse.quote(secret, safe="")):
        assert shown not in redact(f"{before}{shown}{after}").replace(MASK, "\0")


@pytest.mark.parametrize("secret", ["twelvechars1\n", " twelvechars1", "sevenab\x85", "sevenab\xa0"])
def test_blanks_around_a_secret_do_not_give_it_away(secret: str) -> None:
    redact = Redactor({"PROVIDER_API_KEY": secret})
    bare = secret.strip(" \n")
    assert bare not in redact(f"sent {bare}, {secret}")


def test_a_records_values_are_masked_however_nested() -> None:
    class Odd:
        def __repr__(self) -> str:
            return "<Odd key-material-1>"

    redact = Redactor({"API_KEY": "key-material-1"})
    record = {"a": ["key-material-1", {"key-material-1": 5}], "b": Odd(), "c": ValueError("key-material-1"), "d": None}
    assert "key-material-1" not in repr(redact.within(record))


def test_only_names_that_say_so_give_secrets() -> None:
    environ = {"A_KEY": "one-secret", "B": "two", "URL": "redis://:three333@h"}
    assert list(secrets_of(environ)) == ["one-secret", "three333"]


@pytest.mark.parametrize("text", ["sk-" * 20_000, "://a:" * 12_000, "key " * 16_000, "x" * 65_536, "api_key" * 9_000])
def test_a_hostile_line_takes_no_more_than_its_length_deserves(text: str) -> None:
    redact = Redactor({f"K{number}_API_KEY": f"secret-value-{number}" for number in range(20)})
    began = time.process_time()
    redact(text)
    assert time.process_time() - began < 1.0
