"""A pool for OpenAI's own clients: a model for each API, the key as its owner learns it, and two kinds of misfortune."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from tests.daemon import START_WITHIN, Daemon, Document
from tests.eventually import eventually
from tests.fake_azure import Answer, FakeAzure, Steps
from tests.load import Load
from tests.processes import kill

DEPLOYMENTS = ("gpt-4o-2024-08-06", "text-embedding-3-small", "dall-e-3", "whisper", "tts")
REPLICAS = 2
CAP = 2  # requests per replica

# As the guide writes its one model: bare deployment names. Moderations LiteLLM has with OpenAI itself only.
_MODELS = """\
model_list:
  - model_name: gpt-4
    litellm_params: &azure
      model: gpt-4o-2024-08-06
      api_base: {url}/
      api_version: "2024-08-01-preview"
      api_key: ${{AZURE_OPENAI_API_KEY}}
  - model_name: text-embedding-3-small
    litellm_params: {{<<: *azure, model: text-embedding-3-small}}
  - model_name: dall-e-3
    litellm_params: {{<<: *azure, model: dall-e-3}}
  - model_name: whisper-1
    litellm_params: {{<<: *azure, model: whisper}}
  - model_name: tts-1
    litellm_params: {{<<: *azure, model: tts}}
  - model_name: not-deployed
    litellm_params: {{<<: *azure, model: nobody-deployed-this}}
  - model_name: omni-moderation-latest
    litellm_params:
      model: openai/omni-moderation-latest
      api_base: {url}/v1
      api_key: ${{AZURE_OPENAI_API_KEY}}

litellm_settings:
  drop_params: true
  num_retries: 0 # what is repeated here is repeated by the client

router_settings:
  disable_cooldowns: true # a test that wants an error is no reason to refuse the next

general_settings:
  cancel_on_disconnect: true # else a call that is not a stream goes on at the provider when nobody waits for it
"""


class SdkPool(Daemon):
    """Two replicas that work on two requests each, and nobody waits: the fifth is told at once to come back."""

    def __init__(self, url: str, azure_key: str) -> None:
        super().__init__(
            _MODELS.format(url=url),
            replicas=REPLICAS,
            environment={"AZURE_OPENAI_API_KEY": azure_key},
            settings={"replicas": {"max_in_flight": CAP}, "queue": {"size": 0}},
        )
        self.key = ""

    async def ready(self, within: float = START_WITHIN) -> None:
        await super().ready(within)
        shown = await self.run("key", "--state-dir", str(self.state_dir))
        assert shown.code == 0, shown.output
        self.key = shown.stdout.strip()

    @contextlib.asynccontextmanager
    async def full(self, azure: FakeAzure) -> AsyncIterator[Steps]:
        """Every replica works on as many requests as it may, until the steps are released. What comes later gets `pong`."""
        steps = Steps()
        azure.answer = Answer(steps=steps)
        holding = REPLICAS * CAP
        async with Load(self.url, clients=holding, requests=holding, stream=True) as load:
            await azure.reached(lambda server: server.count == holding)
            azure.answer = Answer()
            try:
                yield steps
            finally:
                steps.release_all()
            await eventually(lambda: len(load.results) == holding, what="the end of what filled the pool")
        assert not load.failed, load.summary()

    async def kill_the_one_at_work(self) -> Document:
        """Kills (SIGKILL) the only replica that holds a request."""

        async def busy() -> Document | None:
            found: list[Document] = [entry for entry in (await self.status())["replicas"] if entry["in_flight"]]
            assert len(found) <= 1, found
            return found[0] if found else None

        victim: Document = await eventually(busy, what="a replica with a request in flight")
        await kill(victim["pid"])
        return victim
