"""Who is passed on, who gets the pool's credential, and who is refused."""

from __future__ import annotations

import importlib.util
import ipaddress
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.policy.access import (
    CREDENTIAL_HEADERS,
    CREDENTIAL_QUERY,
    CREDENTIAL_SUBPROTOCOL,
    AccessRules,
    Asked,
    Decision,
    Verdict,
    decide,
    has_credential,
    parse_address,
)
from supervisor.policy.routes import classify
from supervisor.settings.schema import Access

CHAT = "/v1/chat/completions"
HOST = "127.0.0.1:8000"


def rules(**lists: tuple[str, ...]) -> AccessRules:
    access = Access.model_validate(lists)
    return AccessRules.of(
        allow=access.allow, trusted=access.trusted_networks, proxies=access.proxies, hosts=access.hosts
    )


def ask(
    *headers: tuple[str, str],
    method: str = "POST",
    path: str = CHAT,
    query: str = "",
    peer: str = "127.0.0.1",
    websocket: bool = False,
    key_headers: frozenset[str] = frozenset(),
    under: AccessRules | None = None,
) -> Decision:
    fields: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        fields.setdefault(name.lower().encode(), []).append(value.encode())
    fields.setdefault(b"host", [HOST.encode()])
    asked = Asked(
        peer=peer,
        method=method,
        route=classify(method, path, websocket=websocket),
        query=query,
        headers=fields,
        key_headers=frozenset(name.encode() for name in key_headers),
    )
    return decide(asked, under or rules())


def status(decision: Decision) -> int:
    return decision.refusal.status if decision.refusal is not None else 0


PLACES = [
    pytest.param([("Authorization", "Bearer sk-1")], "", id="Authorization"),
    pytest.param([("Authorization", "Basic eDp5")], "", id="Authorization of another scheme"),
    pytest.param([("AUTHORIZATION", "")], "", id="empty Authorization"),
    pytest.param([("x-litellm-api-key", "sk-1")], "", id="x-litellm-api-key"),
    pytest.param([("API-Key", "sk-1")], "", id="api-key"),
    pytest.param([("x-api-key", "sk-1")], "", id="x-api-key"),
    pytest.param([("X-Goog-Api-Key", "sk-1")], "", id="x-goog-api-key"),
    pytest.param([("Ocp-Apim-Subscription-Key", "sk-1")], "", id="Ocp-Apim-Subscription-Key"),
    pytest.param([("litellm_user_api_key", "sk-1")], "", id="litellm_user_api_key"),
    pytest.param([("X-Company-Key", "sk-1")], "", id="litellm_key_header_name"),
    pytest.param([], "key=sk-1", id="?key="),
    pytest.param([], "a=b&key", id="?key without a value"),
    pytest.param([], "a=b&%6bey=sk-1", id="?key= encoded"),
    pytest.param([], "litellm_user_api_key=sk-1", id="?litellm_user_api_key="),
    pytest.param(
        [("Sec-WebSocket-Protocol", "realtime, openai-insecure-api-key.sk-1")], "", id="WebSocket subprotocol"
    ),
]


@pytest.mark.parametrize(("headers", "query"), PLACES)
@pytest.mark.parametrize("extra", [[], [("Origin", "https://a.example")], [("Host", "evil.example")]])
@pytest.mark.parametrize("path", [CHAT, "/key/info"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "203.0.113.9"])
def test_a_credential_in_any_place_passes_and_is_never_replaced(headers, query, extra, path, peer):
    decision = ask(*headers, *extra, path=path, query=query, peer=peer, key_headers=frozenset({"x-company-key"}))
    assert decision.verdict is Verdict.PASS


def test_the_places_are_those_in_which_the_installed_litellm_looks():
    spec = importlib.util.find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    names = dict(
        re.findall(r'^    (\w+) = "([^"]+)"', (root / "types/proxy/auth/special_headers.py").read_text(), re.MULTILINE)
    )
    keys = {name.lower().encode() for member, name in names.items() if not member.startswith("mcp_")}
    assert keys | {b"litellm_user_api_key"} == CREDENTIAL_HEADERS
    auth = (root / "proxy/auth/user_api_key_auth.py").read_text()
    # What it reads from headers and query by literal name, beside those that FastAPI hands it.
    read = set(re.findall(r'(?:headers|query_params\(request\))\.get\("([^"]+)"', auth))
    places = {name for name in read if "key" in name or "auth" in name}
    assert places <= {name.decode() for name in CREDENTIAL_HEADERS} | CREDENTIAL_QUERY
    assert {"litellm_user_api_key", "key"} <= places
    assert f'"{CREDENTIAL_SUBPROTOCOL.decode()}"' in auth


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(
            ("POST", prefix + name)
            for prefix in ("/", "/v1/")
            for name in (
                "chat/completions",
                "completions",
                "embeddings",
                "responses",
                "messages",
                "messages/count_tokens",
                "moderations",
                "rerank",
                "images/generations",
                "images/edits",
                "audio/speech",
                "audio/transcriptions",
                "engines/gpt-4/chat/completions",
                "openai/deployments/gpt-4o%20mini/embeddings",
                "openai/deployments/m/completions",
            )
        ),
        ("GET", "/models"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/gpt-4.1"),
        ("GET", "/models/ft:gpt-4:me"),
    ],
)
def test_a_trusted_client_needs_no_key_for_inference(method, path):
    assert ask(method=method, path=path).verdict is Verdict.KEYLESS


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", CHAT),
        ("PUT", CHAT),
        ("POST", CHAT + "/"),
        ("POST", "/" + CHAT),
        ("POST", "/v1//chat/completions"),
        ("POST", "/v1/chat%2Fcompletions"),
        ("POST", "/v1/chat%2fcompletions"),
        ("POST", "/v1/./chat/completions"),
        ("POST", "/v1/../v1/chat/completions"),
        ("POST", "/V1/chat/completions"),
        ("POST", "/v1/chat/completions%00"),
        ("POST", "/v1/v1/chat/completions"),
        ("POST", "/v2/chat/completions"),
        ("POST", "/v1/models"),
        ("POST", "/engines//chat/completions"),
        ("POST", "/engines/../chat/completions"),
        ("POST", "/engines/a/b/chat/completions"),
        ("POST", "/engines/a%2fb/chat/completions"),
        ("POST", "/engines/a%252fb/chat/completions"),
        ("POST", "/engines/a\\b/chat/completions"),
        ("POST", "/engines/gpt-4/responses"),
        ("POST", "/openai/deployments/gpt-4/images/generations"),
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/a/b"),
        ("GET", "/v1/models/.."),
        ("GET", "/v1/models/%2e%2e"),
        ("GET", "/v1/models/a%2Fb"),
        ("GET", "/key/info"),
        ("POST", "/v1/files"),
        ("POST", "/v1/batches"),
        ("POST", "/v1/threads"),
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/openai/v1/chat/completions"),
        ("GET", "/v1/realtime"),
        ("GET", "/"),
        ("GET", "/ui/"),
    ],
)
def test_everything_else_needs_a_key(method, path):
    assert status(ask(method=method, path=path)) == 401


def test_realtime_is_open_only_as_a_websocket():
    assert ask(method="GET", path="/v1/realtime", websocket=True).verdict is Verdict.KEYLESS
    assert status(ask(method="GET", path=CHAT, websocket=True)) == 401
    assert status(ask(("Origin", "http://a"), method="GET", path="/v1/realtime", websocket=True)) == 403


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("nonsense", False),
    ],
)
def test_only_loopback_is_trusted_by_default(peer, trusted):
    decision = ask(peer=peer)
    assert (decision.verdict is Verdict.KEYLESS) == trusted
    assert trusted or status(decision) == 401


def test_a_mapped_network_is_the_ipv4_network_that_it_means():
    under = rules(trusted=("::ffff:10.0.0.0/104",))
    assert ask(peer="10.200.1.1", under=under).verdict is Verdict.KEYLESS
    assert ask(peer="::ffff:10.200.1.1", under=under).verdict is Verdict.KEYLESS
    assert status(ask(peer="127.0.0.1", under=under)) == 401


@pytest.mark.parametrize(
    "headers",
    [
        [("Origin", "https://evil.example")],
        [("Origin", "null")],
        [("Origin", "http://localhost:3000")],
        [("Sec-Fetch-Site", "cross-site")],
        [("sec-fetch-site", " Cross-Site ")],
        [("Content-Type", "text/plain"), ("Sec-Fetch-Site", "cross-site")],
        [("Host", "evil.example")],
        [("Host", "evil.example:8000")],
        [("Host", "127.0.0.1.evil.example")],
        [("Host", "localhost.evil.example")],
        [("Host", "user@127.0.0.1")],
        [("Host", "127.0.0.1/x")],
        [("Host", "127.0.0.1, evil.example")],
        [("Host", "127.0.0.1:80:80")],
        [("Host", "127.0.0.1%25evil")],
        [("Host", "[::1].evil.example")],
        [("Host", "[::1")],
        [("Host", "")],
        [("Host", "127.0.0.1"), ("Host", "evil.example")],
        [("Forwarded", "for=127.0.0.1")],
        [("X-Forwarded-For", "127.0.0.1")],
        [("X-Forwarded-For", "")],
        [("Via", "1.1 proxy")],
        [("X-Real-IP", "127.0.0.1")],
        [("X-Forwarded-Proto", "https")],
        [("X-Forwarded-Host", "localhost")],
        [("CDN-Loop", "cdn")],
    ],
)
def test_what_a_page_or_an_unlisted_proxy_sends_is_no_trusted_client(headers):
    assert status(ask(*headers)) == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "10.0.0.4:8000", "[::1]:8000", "[::1]"])
def test_a_host_that_no_foreign_name_can_take_is_accepted(host):
    assert ask(("Host", host)).verdict is Verdict.KEYLESS


def test_listed_hosts_are_accepted_in_any_case():
    under = rules(hosts=("LLM.internal",))
    assert ask(("Host", "llm.Internal:8000"), under=under).verdict is Verdict.KEYLESS
    assert status(ask(("Host", "other.internal"), under=under)) == 403


def test_same_site_pages_without_origin_are_what_a_curl_would_be():
    assert ask(("Sec-Fetch-Site", "none")).verdict is Verdict.KEYLESS


def test_allow_comes_before_everything_even_a_key():
    under = rules(allow=("10.0.0.0/8",))
    decision = ask(("Authorization", "Bearer sk-1"), under=under)
    assert decision.refusal is not None
    assert (decision.refusal.status, decision.refusal.code) == (403, "address_not_allowed")
    assert ask(("Authorization", "Bearer sk-1"), peer="10.0.0.9", under=under).verdict is Verdict.PASS


PROXIED = {"proxies": ("10.0.0.0/8",), "trusted": ("192.168.0.0/16",)}


@pytest.mark.parametrize(
    ("peer", "headers", "client", "verdict"),
    [
        ("10.0.0.1", [("X-Forwarded-For", "192.168.1.1")], "192.168.1.1", Verdict.KEYLESS),
        ("10.0.0.1", [("X-Forwarded-For", "192.168.1.1:4711")], "192.168.1.1", Verdict.KEYLESS),
        ("10.0.0.1", [("X-Forwarded-For", "192.168.1.1, 10.0.0.2")], "192.168.1.1", Verdict.KEYLESS),
        ("10.0.0.1", [("X-Forwarded-For", "192.168.1.1"), ("Via", "1.1 p")], "192.168.1.1", Verdict.KEYLESS),
        ("10.0.0.1", [("X-Forwarded-For", "192.168.1.1"), ("Via", "1.1 a, 1.1 p")], "192.168.1.1", Verdict.REFUSE),
        # What stands left of the first address that is no listed proxy was written by the client itself.
        ("10.0.0.1", [("X-Forwarded-For", "192.168.9.9, 203.0.113.5")], "203.0.113.5", Verdict.REFUSE),
        ("10.0.0.1", [("X-Forwarded-For", "6.6.6.6, 192.168.1.1")], "192.168.1.1", Verdict.REFUSE),
        (
            "10.0.0.1",
            [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "192.168.1.1")],
            "192.168.1.1",
            Verdict.REFUSE,
        ),
        ("10.0.0.1", [("X-Forwarded-For", "unknown")], "unknown", Verdict.REFUSE),
        ("10.0.0.1", [], "10.0.0.1", Verdict.REFUSE),
        ("192.168.1.1", [("X-Forwarded-For", "192.168.2.2")], "192.168.1.1", Verdict.REFUSE),
        ("10.0.0.1", [("X-Forwarded-For", "1" * 65)], "unknown", Verdict.REFUSE),
        ("10.0.0.1", [("X-Forwarded-For", "[2001:db8::1]:80")], "2001:db8::1", Verdict.REFUSE),
    ],
)
def test_only_a_listed_proxy_may_speak_for_a_client(peer, headers, client, verdict):
    decision = ask(*headers, peer=peer, under=rules(**PROXIED))
    assert (decision.client, decision.verdict) == (client, verdict)


@pytest.mark.parametrize("told", [("Forwarded", "for=203.0.113.5"), ("Via", "1.1 p")])
def test_a_proxy_that_does_not_say_for_whom_in_x_forwarded_for_is_not_taken_for_the_client(told):
    """Where the proxy's own address is trusted too, a client from anywhere would come in as the proxy."""
    under = rules(proxies=("127.0.0.1",))
    assert ask(under=under).verdict is Verdict.KEYLESS
    assert status(ask(told, under=under)) == 403
    assert ask(told, ("X-Forwarded-For", "127.0.0.1"), under=under).verdict is Verdict.KEYLESS


def test_a_preflight_passes_without_the_pools_key():
    headers = [("Origin", "https://a.example"), ("Access-Control-Request-Method", "POST")]
    assert ask(*headers, method="OPTIONS").verdict is Verdict.PASS
    assert status(ask(*headers, method="POST")) == 403


@given(st.text(max_size=60))
def test_no_host_other_than_an_address_or_localhost_is_ever_trusted(host):
    decision = ask(("Host", host))
    if decision.verdict is Verdict.KEYLESS:
        name = host.strip().lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        assert name == "localhost" or ipaddress.ip_address(name)


@given(st.text(max_size=40))
def test_any_text_can_be_asked_for_as_a_peer_and_a_query(text):
    parse_address(text)
    has_credential(Asked(peer=text, method="GET", route=classify("GET", text), query=text, headers={}))
