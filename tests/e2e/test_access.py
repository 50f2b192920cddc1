"""Whose requests get the pool's own credential, and whose never do."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.daemon import Daemon
from tests.fake_azure import FakeAzure

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT: dict[str, Any] = {"model": "gpt-4", "messages": [{"role": "user", "content": "ping"}]}


@pytest.mark.parametrize(
    "header",
    [
        {"Authorization": "Bearer sk-not-the-key"},
        {"x-litellm-api-key": "sk-not-the-key"},
        {"api-key": "sk-not-the-key"},
        {"x-api-key": "sk-not-the-key"},
        {"x-goog-api-key": "sk-not-the-key"},
        {"Ocp-Apim-Subscription-Key": "sk-not-the-key"},
        {"Authorization": ""},
    ],
    ids=lambda header: f"{next(iter(header))}:{next(iter(header.values()))[:6]}",
)
async def test_a_client_with_a_credential_of_its_own_never_gets_the_pools(
    pool: Daemon, azure: FakeAzure, client: aiohttp.ClientSession, header: dict[str, str]
):
    async with client.post(f"{pool.url}/chat/completions", json=CHAT, headers=header) as response:
        assert response.status in {400, 401, 403}, await response.text()
    assert azure.count == 0


async def test_a_key_in_the_query_is_a_credential_too(pool: Daemon, azure: FakeAzure, client: aiohttp.ClientSession):
    async with client.post(f"{pool.url}/chat/completions?key=sk-not-the-key", json=CHAT) as response:
        assert response.status in {400, 401, 403}, await response.text()
    assert azure.count == 0


@pytest.mark.parametrize(
    "header",
    [
        {"Origin": "http://elsewhere.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "elsewhere.example"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"Forwarded": "for=203.0.113.9"},
        {"Via": "1.1 elsewhere"},
    ],
    ids=lambda header: str(next(iter(header))),
)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
async def test_a_request_that_a_browser_or_a_proxy_may_have_sent_is_refused_without_a_key(
    pool: Daemon, azure: FakeAzure, client: aiohttp.ClientSession, header: dict[str, str], content_type: str
):
    headers = header | {"Content-Type": content_type}
    async with client.post(f"{pool.url}/chat/completions", json=CHAT, headers=headers) as response:
        assert response.status in {401, 403}, await response.text()
    assert azure.count == 0


@pytest.mark.parametrize("path", ["/key/generate", "/model/new", "/v1/files", "/config/update", "/chat/completions/"])
async def test_only_inference_routes_are_given_the_pools_credential(
    pool: Daemon, azure: FakeAzure, client: aiohttp.ClientSession, path: str
):
    async with client.post(pool.url + path, json=CHAT, allow_redirects=False) as response:
        assert response.status in {307, 400, 401, 403, 404, 405}, await response.text()
    assert azure.count == 0


async def test_the_key_that_litesup_shows_its_owner_opens_everything(
    pool: Daemon, azure: FakeAzure, client: aiohttp.ClientSession
):
    shown = await pool.run("key", "--settings", str(pool.folder / "litesup.yaml"))
    assert shown.code == 0, shown.output
    key = shown.stdout.split()[-1]
    headers = {"Authorization": f"Bearer {key}", "Origin": "http://elsewhere.example"}
    async with client.post(f"{pool.url}/chat/completions", json=CHAT, headers=headers) as response:
        assert response.status == 200, await response.text()
    async with client.get(f"{pool.url}/model/info", headers=headers) as response:
        assert response.status == 200, await response.text()
