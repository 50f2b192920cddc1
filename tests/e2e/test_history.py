"""Going back with the real LiteLLM: by the operator's word, and at a start on a broken file."""

from __future__ import annotations

import aiohttp
import pytest

from tests.daemon import GUIDE, Daemon
from tests.e2e.conftest import AZURE_KEY
from tests.e2e.test_reload import models
from tests.fake_azure import FakeAzure
from tests.guide import guide_and
from tests.load import Load

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]


async def test_back_by_word_and_back_at_a_start_on_a_broken_file(azure: FakeAzure, client: aiohttp.ClientSession):
    daemon = Daemon(
        GUIDE.format(url=azure.url),
        replicas=2,
        environment={"AZURE_OPENAI_API_KEY": AZURE_KEY},
        settings={"rollout": {"settle": 0.2}},
        flags=["--last-good"],
    )
    async with daemon:
        await daemon.event("generation_kept")
        first = (await daemon.status())["generation"]["running"]

        # A good change, and back, under load.
        since = len(daemon.events)
        async with Load(daemon.url, clients=2) as load:
            daemon.save(guide_and("second", azure.url))
            await daemon.event("generation_kept", since=since, within=90)
            assert await models(daemon, client) == {"gpt-4", "second"}
            since = len(daemon.events)
            back = await daemon.run("rollback", "--wait", within=90)
            assert back.code == 0, back.output
            await daemon.event("generation_kept", since=since, within=90)
        assert not load.failed, load.summary()
        assert await models(daemon, client) == {"gpt-4"}
        document = await daemon.settled()
        assert document["generation"]["running"] == first != document["generation"]["on_disk"]
        shown = await daemon.run("status")
        assert "rolled back by the operator; the file on disk differs" in shown.output
        assert "model_name: second" in shown.output
        for output in (shown.output, (await daemon.run("history", "--json")).output, daemon.text):
            assert AZURE_KEY not in output
        for file in (daemon.state_dir / "history").iterdir():
            assert file.stat().st_mode & 0o777 == 0o600
            assert AZURE_KEY not in file.read_text()

        # Broken on disk, and started again.
        assert (await daemon.run("stop")).code == 0
        assert await daemon.wait() == 0
        daemon.config.write_text("model_list: [\n")
        await daemon.start()
        await daemon.ready()
        assert daemon.count("last_good_started") == 1
        assert await models(daemon, client) == {"gpt-4"}
        assert "serving the last good configuration" in (await daemon.run("status")).output
        load = await Load(daemon.url, clients=2, requests=6).run()
        assert not load.failed, load.summary()

        # Mended.
        since = len(daemon.events)
        daemon.save(guide_and("second", azure.url))
        await daemon.event("rollout_completed", since=since, within=90)
        assert await models(daemon, client) == {"gpt-4", "second"}
        document = await daemon.settled()
        assert document["generation"]["note"] == ""
        assert document["generation"]["refused"] == []
