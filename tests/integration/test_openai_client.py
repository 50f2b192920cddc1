"""What an application on OpenAI's own client sees of replicas that die: the client, unmodified."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest

from tests.wire import Bench, Call, ScriptedReplica, bench

DELTA = b'{"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {}}]}'


def client(made: Bench) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{made.port}/v1", api_key="sk-mine")


async def die(call: Call) -> None:
    await call.read_body()
    call.hang_up()


async def test_a_stream_that_broke_off_is_an_exception(short_dir: Path) -> None:
    async def begin_and_die(call: Call) -> None:
        await call.read_body()
        await call.begin_stream()
        await call.chunk(b"data: %b\n\n" % DELTA)
        call.writer.close()

    async with bench(ScriptedReplica(short_dir, 0, begin_and_die)) as b, client(b) as api:
        stream = await api.chat.completions.create(model="m", messages=[], stream=True)
        assert (await anext(aiter(stream))).id == "x"
        with pytest.raises(openai.APIError, match="the replica closed the connection"):
            await anext(aiter(stream))


async def test_a_death_is_not_seen_at_all(short_dir: Path) -> None:
    async def answer(call: Call) -> None:
        await call.read_body()
        await call.reply(b'{"id": "saved", "object": "chat.completion", "choices": []}')

    async with bench(ScriptedReplica(short_dir, 0, die), ScriptedReplica(short_dir, 1, answer)) as b, client(b) as api:
        assert (await api.chat.completions.create(model="m", messages=[])).id == "saved"
        assert len(b.seen) == 1


async def test_what_was_in_flight_at_two_deaths_is_not_sent_again_by_the_client_either(short_dir: Path) -> None:
    replicas = [ScriptedReplica(short_dir, slot, die) for slot in range(6)]
    async with bench(*replicas) as b, client(b) as api:
        with pytest.raises(openai.InternalServerError):
            await api.chat.completions.create(model="m", messages=[])
        assert sum(len(replica.requests) for replica in b.replicas) == 2
        assert [event.status for event in b.seen] == [502]


async def test_the_client_comes_back_after_a_503_when_it_was_told_to(short_dir: Path) -> None:
    async with bench(queue={"size": 0}) as b, client(b) as api:
        with pytest.raises(openai.InternalServerError) as refused:
            await api.chat.completions.create(model="m", messages=[])
        assert refused.value.status_code == 503
        assert [event.status for event in b.seen] == [503] * 3
