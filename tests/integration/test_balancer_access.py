"""Who gets the pool's key and who is refused, over real sockets; each promise under asyncio and under uvloop."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.errors import ConfigurationRefused
from supervisor.settings.schema import Settings
from tests.loops import on_both_loops
from tests.wire import CHAT, POOL_KEY, ScriptedReplica, bench

KEYS = [
    {"Authorization": "Bearer sk-mine"},
    {"authorization": ""},
    {"x-litellm-api-key": "sk-mine"},
    {"API-Key": "sk-mine"},
    {"x-api-key": "sk-mine"},
    {"x-goog-api-key": "sk-mine"},
    {"Ocp-Apim-Subscription-Key": "sk-mine"},
    {"litellm_user_api_key": "sk-mine"},
    {"X-Company-Key": "sk-mine"},
]


@on_both_loops
async def test_a_client_with_a_key_in_any_of_litellms_places_is_never_given_the_pools(directory: Path):
    replica = ScriptedReplica(directory)
    replica.upstream.key_header = "X-Company-Key"
    async with bench(replica) as b:
        for target in (CHAT, "/key/info"):
            for fields in KEYS:
                assert (await b.ask("POST", target, fields, b"{}")).status == 200
            assert (await b.ask("POST", target + "?key=sk-mine", body=b"{}")).status == 200
        assert len(replica.requests) == 20
        for request in replica.requests:
            assert POOL_KEY not in str(request.headers)
        assert (await b.ask("POST", CHAT, body=b"{}")).status == 200
        assert replica.requests[-1].one("x-company-key") == f"Bearer {POOL_KEY}"


@on_both_loops
async def test_a_web_page_without_a_key_is_refused(directory: Path):
    async with bench(ScriptedReplica(directory)) as b:
        for fields in (
            {"Origin": "https://evil.example"},
            {"Origin": "null", "Content-Type": "text/plain"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Host": "evil.example"},
            {"Host": "127.0.0.1.evil.example:8000"},
        ):
            answer = await b.ask("POST", CHAT, fields, b"{}")
            assert answer.status == 403
            assert answer.json()["error"]["type"] == "permission_error"
        assert not b.replicas[0].requests
        assert {event.outcome for event in b.seen} == {"refused"}


@on_both_loops
async def test_without_a_key_only_inference_is_served(directory: Path):
    async with bench(ScriptedReplica(directory)) as b:
        for method, target in (
            ("GET", "/key/info"),
            ("POST", "/v1/files"),
            ("POST", "/v1/chat/completions/"),
            ("POST", "/v1//chat/completions"),
            ("POST", "/v1/chat%2Fcompletions"),
            ("POST", "/key/../v1/chat/completions"),
            ("GET", "/v1/models/..%2Fkey"),
        ):
            answer = await b.ask(method, target, body=b"{}" if method == "POST" else b"")
            assert answer.status == 401
            assert answer.json()["error"]["code"] == "missing_api_key"
        assert not b.replicas[0].requests
        assert (await b.ask("GET", "/v1/models/gpt-4")).status == 200


@on_both_loops
async def test_only_trusted_addresses_may_come_without_a_key(directory: Path):
    async with bench(ScriptedReplica(directory), access={"trusted": ["10.0.0.0/8"]}) as b:
        assert (await b.ask("POST", CHAT, body=b"{}")).status == 401
    async with bench(ScriptedReplica(directory, 1), access={"proxies": ["127.0.0.1/32"]}) as b:
        assert (await b.ask("POST", CHAT, {"X-Forwarded-For": "10.1.2.3"}, b"{}")).status == 401
        own = {"X-Forwarded-For": "6.6.6.6, 10.1.2.3", "Authorization": "Bearer sk-1"}
        assert (await b.ask("POST", CHAT, own, b"{}")).status == 200
        assert b.replicas[0].requests[0].all("x-forwarded-for") == ["10.1.2.3"]


@on_both_loops
async def test_only_a_listed_proxy_may_say_how_it_was_reached(directory: Path):
    told = {
        "X-Forwarded-Proto": "https",
        "x-forwarded-user": "root",
        "Forwarded": "proto=https",
        "X-Real-Ip": "1.1.1.1",
    }
    own = {**told, "X-Forwarded-For": "10.1.2.3", "Via": "1.1 p", "Authorization": "Bearer sk-1"}
    async with bench(ScriptedReplica(directory)) as b:
        assert (await b.ask("POST", CHAT, own, b"{}")).status == 200
        (request,) = b.replicas[0].requests
        assert not [name for name in told if request.all(name)]
        assert (request.one("via"), request.one("x-forwarded-for")) == ("1.1 p", "127.0.0.1")
    async with bench(ScriptedReplica(directory, 1), access={"proxies": ["127.0.0.1/32"]}) as b:
        assert (await b.ask("POST", CHAT, own, b"{}")).status == 200
        (request,) = b.replicas[0].requests
        assert {name: request.one(name) for name in told} == told


@on_both_loops
async def test_an_open_port_objects_to_settings_under_which_it_would_be_unguarded(directory: Path) -> None:
    async with bench(balancer={"host": ["0.0.0.0"]}, access={"allow": ["127.0.0.0/8"]}) as b:
        b.balancer.allows(Settings.model_validate({"access": {"trusted": []}}))
        with pytest.raises(ConfigurationRefused, match="allow"):
            b.balancer.allows(Settings())
    async with bench() as b:
        b.balancer.allows(Settings())


@on_both_loops
async def test_other_access_rules_hold_for_a_client_that_is_connected(directory: Path) -> None:
    async with bench(ScriptedReplica(directory)) as b:
        client = await b.connect()
        assert (await client.ask("POST", CHAT, body=b"{}")).status == 200
        b.balancer.rule(Settings.model_validate({"access": {"allow": ["10.0.0.0/8"]}}))
        assert (await client.ask("POST", CHAT, body=b"{}")).status == 403
