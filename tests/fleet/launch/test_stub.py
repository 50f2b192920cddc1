from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from supervisor.fleet.launch.stub import WarmUpStub


@pytest.fixture
async def stub() -> AsyncIterator[WarmUpStub]:
    made = WarmUpStub()
    await made.start()
    yield made
    await made.close()


async def post(url: str, body: object) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        return response.status, await response.text()


async def test_it_answers_a_plain_and_a_streamed_call(stub: WarmUpStub):
    url = f"{stub.url_for(1)}/v1/chat/completions"
    assert '"chat.completion"' in (await post(url, {}))[1]
    assert (await post(url, {"stream": True}))[1].endswith("data: [DONE]\n\n")


async def test_a_replica_is_warm_when_it_says_so(stub: WarmUpStub):
    await post(f"{stub.url_for(1)}/report", {"incomplete": None})
    assert await stub.wait_warm(1, 0.01) is None


async def test_the_reason_of_a_replica_that_did_not_warm_up_is_told(stub: WarmUpStub):
    await post(f"{stub.url_for(1)}/report", {"incomplete": "ValueError: no such thing"})
    assert await stub.wait_warm(1, 0.01) == "ValueError: no such thing"


async def test_a_report_counts_only_for_the_replica_whose_url_it_came_to(stub: WarmUpStub):
    assert stub.url_for(1) != stub.url_for(2)
    assert stub.url_for(1) == stub.url_for(1)
    await post(f"{stub.url_for(1)}/report", {})
    assert await stub.wait_warm(2, 0.01) == "no report within 0.01 s; nothing arrived"


async def test_what_arrived_is_told_when_no_report_does(stub: WarmUpStub):
    await post(f"{stub.url_for(1)}/v1/chat/completions", {})
    assert "a plain call arrived" in str(await stub.wait_warm(1, 0.01))


async def test_who_does_not_know_a_replicas_url_gets_nothing(stub: WarmUpStub):
    url = stub.url_for(1)
    stub.forget(1)
    assert (await post(f"{url}/v1/chat/completions", {}))[0] == 404
    assert await stub.wait_warm(1, 0.01) == "no warm-up was asked for"
